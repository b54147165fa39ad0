"""The emulated secure world. It is started as processes of its own and imported by nobody but their entry points."""
