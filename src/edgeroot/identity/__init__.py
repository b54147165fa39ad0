"""Who holds a token: asks the API server, the kubelet and the SPIFFE Workload API what :mod:`edgeroot.auth` judges by.

It runs in a process of its own, since each of them may take its time. Needs the extra ``k8s``.
"""
