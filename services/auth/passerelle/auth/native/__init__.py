"""The gRPC services of `passerelle.v1` that auth serves: each method converts, calls, converts.

May import: everything else of auth but `envoy`.
"""
