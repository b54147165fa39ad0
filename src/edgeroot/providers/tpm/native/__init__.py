"""All that touches the machine: the TPM through the library tpm2-pytss, and a few files."""

import os

# Before the libraries are loaded, which otherwise write lines of their own to standard error beside the error that they
# return.
os.environ.setdefault("TSS2_LOG", "all+NONE")
