module edgeroot.dev/examples/go

go 1.21

require github.com/miekg/pkcs11 v1.1.1
