"""Postgres: all the SQL, the migrations, the artifacts and the embedded server."""
