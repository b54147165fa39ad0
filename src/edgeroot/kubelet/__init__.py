"""The kubelet's own contracts, sans-IO: device plugins (v1beta1) and pod resources (v1), as protobuf and gRPC stubs."""
