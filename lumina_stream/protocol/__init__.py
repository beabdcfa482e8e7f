"""The protocol `lumina.v1`: frames, guards and one Sans-I/O machine a role. No I/O, threads or clock reads."""

SUBPROTOCOL = "lumina.v1"
SUBPROTOCOL_JSON = "lumina.v1.json"
