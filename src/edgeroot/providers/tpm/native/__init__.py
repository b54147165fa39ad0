"""All that touches the machine: the TPM through the library tpm2-pytss, and a few files."""
