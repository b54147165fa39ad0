/* Signs with a key that stays in the service, through edgeroot's PKCS#11 module.
 *
 *     cc sign.c -o sign $(pkg-config --cflags p11-kit-1) && ./sign MODULE LABEL MESSAGE
 *
 * The key is made before, for example by `edgeroot create-ecc-key -k device`. Prints the signature in hexadecimal. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <p11-kit/pkcs11.h>

static void check(CK_RV code, const char *what) {
    if (code != CKR_OK) {
        fprintf(stderr, "%s: CKR 0x%lx\n", what, code);
        exit(1);
    }
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: %s MODULE LABEL MESSAGE\n", arguments[0]);
        return 2;
    }
    void *library = dlopen(arguments[1], RTLD_NOW);
    CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : NULL;
    if (get == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    CK_FUNCTION_LIST_PTR p11;
    check(get(&p11), "C_GetFunctionList");
    check(p11->C_Initialize(NULL), "C_Initialize");

    /* The first slot is the service's first provider. */
    CK_SLOT_ID slots[16];
    CK_ULONG slot_count = 16;
    check(p11->C_GetSlotList(CK_TRUE, slots, &slot_count), "C_GetSlotList");
    if (slot_count == 0) {
        fprintf(stderr, "no service answers: see PARSEC_SERVICE_ENDPOINT\n");
        return 1;
    }
    CK_SESSION_HANDLE session;
    check(p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session), "C_OpenSession");

    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_LABEL, arguments[2], strlen(arguments[2])},
    };
    CK_OBJECT_HANDLE key;
    CK_ULONG found = 0;
    check(p11->C_FindObjectsInit(session, wanted, 2), "C_FindObjectsInit");
    check(p11->C_FindObjects(session, &key, 1, &found), "C_FindObjects");
    check(p11->C_FindObjectsFinal(session), "C_FindObjectsFinal");
    if (found == 0) {
        fprintf(stderr, "there is no private key \"%s\"\n", arguments[2]);
        return 1;
    }

    CK_MECHANISM ecdsa = {CKM_ECDSA_SHA256, NULL, 0};
    unsigned char signature[256];
    CK_ULONG length = sizeof signature;
    check(p11->C_SignInit(session, &ecdsa, key), "C_SignInit");
    check(p11->C_Sign(session, (CK_BYTE_PTR)arguments[3], strlen(arguments[3]), signature, &length), "C_Sign");
    for (CK_ULONG at = 0; at < length; at++)
        printf("%02x", signature[at]);
    putchar('\n');

    check(p11->C_CloseSession(session), "C_CloseSession");
    check(p11->C_Finalize(NULL), "C_Finalize");
    return 0;
}
