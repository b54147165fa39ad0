"""The verifier over HTTP: Veraison's challenge-response and provisioning interfaces, as an ASGI application."""
