/* The part of OpenSSL that our extensions call, as Python's own `_hashlib` has loaded it.
 *
 * Nothing is linked and no header of OpenSSL is needed: the few functions are declared here and
 * looked up when a module is imported. A Python without a shared libcrypto makes the import fail
 * (ImportError), and what is written in Python is used instead.
 *
 * SHA-256 is that of the low-level functions: those above them cost more than hashing a block. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

#define DIGEST_SIZE 32
#define SHA256_BLOCK 64

typedef struct { /* SHA256_CTX, the same since OpenSSL 0.9.8 */
    uint32_t chain[8];
    uint32_t bits[2];
    uint32_t block[16];
    unsigned held, digest_size;
} Sha256;

static struct {
    int (*init)(Sha256 *);
    int (*update)(Sha256 *, const void *, size_t);
    int (*final)(unsigned char *, Sha256 *);
} sha256;

typedef struct {
    const char *name;
    void **place;
} Symbol;

/* Whether all of `symbols`, whose last one has no name, are there; ImportError otherwise. */
static int libcrypto_find(const Symbol *symbols)
{
    static const char *const names[] = {"libcrypto.so.3", "libcrypto.so.1.1"};
    PyObject *hashlib = PyImport_ImportModule("_hashlib");
    if (hashlib == NULL)
        return 0;
    Py_DECREF(hashlib); /* it stays in sys.modules, and its library for good */
    void *library = NULL;
    for (size_t i = 0; library == NULL && i < sizeof names / sizeof *names; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (library == NULL) {
        PyErr_SetString(PyExc_ImportError, "this Python has no shared libcrypto");
        return 0;
    }
    for (; symbols->name != NULL; symbols++) {
        *symbols->place = dlsym(library, symbols->name);
        if (*symbols->place == NULL) {
            PyErr_Format(PyExc_ImportError, "libcrypto has no %s", symbols->name);
            return 0;
        }
    }
    return 1;
}

/* Whether SHA-256 is there and what we take it for; ImportError otherwise. */
static int sha256_find(void)
{
    static const unsigned char expected[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    const Symbol symbols[] = {{"SHA256_Init", (void **)&sha256.init},
                              {"SHA256_Update", (void **)&sha256.update},
                              {"SHA256_Final", (void **)&sha256.final},
                              {NULL, NULL}};
    struct {
        Sha256 state;
        unsigned char room[256]; /* should a libcrypto ever have a larger state */
    } tried;
    unsigned char digest[DIGEST_SIZE];
    if (!libcrypto_find(symbols))
        return 0;
    memset(tried.room, 0xa5, sizeof tried.room);
    if (!sha256.init(&tried.state) || !sha256.update(&tried.state, "abc", 3) ||
        !sha256.final(digest, &tried.state) || memcmp(digest, expected, sizeof expected) != 0) {
        PyErr_SetString(PyExc_ImportError, "libcrypto has an unknown form of SHA-256");
        return 0;
    }
    for (size_t i = 0; i < sizeof tried.room; i++) {
        if (tried.room[i] != 0xa5) {
            PyErr_SetString(PyExc_ImportError, "the state of SHA-256 is larger than known");
            return 0;
        }
    }
    return 1;
}

/* The digest of two stretches of bytes, one after the other. */
static void sha256_of(const void *one, size_t one_size, const void *two, size_t two_size,
                      unsigned char digest[DIGEST_SIZE])
{
    Sha256 state;
    sha256.init(&state);
    sha256.update(&state, one, one_size);
    sha256.update(&state, two, two_size);
    sha256.final(digest, &state);
}
