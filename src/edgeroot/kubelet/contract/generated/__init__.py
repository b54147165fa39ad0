"""Made by ``scripts/generate_wire.py``; do not edit."""
