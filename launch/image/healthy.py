"""Whether the server in this container is well: what the image's health check runs."""

import http.client
import os
import sys

port = int(os.environ.get("DANLU_PORT", "8000"))
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)  # never by a proxy
try:
    connection.request("GET", "/health")
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(str(error))
