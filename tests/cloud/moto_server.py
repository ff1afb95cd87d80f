"""An independent EC2 and IAM (moto), and boto3 to inspect it.

Serves on a free loopback port, writes that port as its first line, then answers calls: a JSON object
a line, {"service", "method", "arguments"} in, {"result"} or {"error"} out. Ends with its input.
"""

import json
import logging
import sys

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

REGION = "eu-west-1"


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    clients = {}
    print(port, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        service = request["service"]
        try:
            if service not in clients:
                clients[service] = boto3.client(
                    service,
                    region_name=REGION,
                    endpoint_url=f"http://{host}:{port}",
                    aws_access_key_id="operator",
                    aws_secret_access_key="operator",
                    config=Config(retries={"max_attempts": 0}),
                )
            method = getattr(clients[service], request["method"])
            answer = {"result": method(**request["arguments"])}
        except Exception as error:  # noqa: BLE001 -- every error is reported to the tester
            answer = {"error": str(error)}
        print(json.dumps(answer, default=str), flush=True)
    server.stop()


main()
