"""Everything of the provider that touches the machine: Microchip's library, and files."""
