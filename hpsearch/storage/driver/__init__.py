"""What is between SQLAlchemy and psycopg2."""
