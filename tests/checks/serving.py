"""A server with gRPC's own health checking: ADDRESS SOCKET, and the files of a certificate and its key."""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

address, socket, *files = sys.argv[1:]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
servicer = health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
servicer.set("shop.Orders", health_pb2.HealthCheckResponse.SERVING)
servicer.set("shop.Broken", health_pb2.HealthCheckResponse.NOT_SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
if files:
    certificate, key = (open(file, "rb").read() for file in files)
    server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
else:
    server.add_insecure_port(address)
server.add_insecure_port(f"unix:{socket}")
server.start()
server.wait_for_termination()
