/* The cryptographic middle of a ledger entry in one call: see `_sealing.pyi` for what is promised
 * and `_sealing_python.py` for the same in Python. The layout is described in `entry.py`.
 *
 * The interpreter lock is held throughout: it is what keeps two threads from using the contexts of
 * one Sealer at once. A call takes a microsecond, some milliseconds for the largest entries. */

#include "libcrypto.h"
#include <limits.h>

#define KEY_SIZE 32
#define TAG_SIZE 16

enum { /* offsets in an entry */
    AT_VERSION = 0,
    AT_FLAGS = 1,
    AT_SIZE = 2,
    AT_TAG = 8,
    AT_IV = 24,
    AT_IV_VIEW = 32,
    AT_PUBLIC_SIZE = 36,
    AT_PUBLIC = 44,
    AT_SEQNO = 45,
    AT_CLAIMS = 53,
    AT_EVIDENCE = 85,
    AT_CONFLICT = 117,
    AT_SECTIONS = 125,
};
#define HEADER_SIZE 8 /* what the size field does not count */
#define FORMAT_VERSION 1
#define WITH_EVIDENCE_AND_CLAIMS 4 /* the type of today's entries */
#define VIEW_MAX 0x7fffffffULL
#define FLAGS_MAX 0xffULL
#define NAME_MAX_SIZE 32 /* "<view>.<seqno>": ten digits, a dot, twenty digits */

#define EVP_CTRL_AEAD_GET_TAG 0x10
#define EVP_CTRL_AEAD_SET_TAG 0x11

typedef struct evp_cipher_ctx_st Context;

static struct {
    Context *(*new)(void);
    void (*free)(Context *);
    const void *(*aes_256_gcm)(void);
    int (*init)(Context *, const void *, void *, const unsigned char *, const unsigned char *, int);
    int (*update)(Context *, unsigned char *, int *, const unsigned char *, int);
    int (*final)(Context *, unsigned char *, int *);
    int (*ctrl)(Context *, int, int, void *);
    void (*clear_errors)(void);
    void (*cleanse)(void *, size_t);
} evp;

typedef struct {
    PyObject_HEAD
    Context *encrypt; /* the key is set; each entry sets its IV */
    Context *decrypt;
    Sha256 inner; /* HMAC of the commit secret: after the inner and the outer padded key */
    Sha256 outer;
} Sealer;

/* --- bytes ----------------------------------------------------------------------------------- */

static void put(unsigned char *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const unsigned char *from, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static char *put_decimal(char *to, uint64_t value)
{
    char digits[20];
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count != 0)
        *to++ = digits[--count];
    return to;
}

/* --- arguments ------------------------------------------------------------------------------- */

static int number(PyObject *given, uint64_t max, const char *otherwise, uint64_t *value)
{
    *value = PyLong_AsUnsignedLongLong(given);
    if (*value == (unsigned long long)-1 && PyErr_Occurred())
        return 0;
    if (*value > max)
        PyErr_SetString(PyExc_AssertionError, otherwise);
    return *value <= max;
}

static int is_bytes(PyObject *given, const char *name)
{
    if (!PyBytes_Check(given))
        PyErr_Format(PyExc_TypeError, "%s must be bytes, not %s", name, Py_TYPE(given)->tp_name);
    return PyBytes_Check(given);
}

static int has_count(Py_ssize_t count, Py_ssize_t expected)
{
    if (count != expected)
        PyErr_Format(PyExc_TypeError, "%zd arguments expected, %zd given", expected, count);
    return count == expected;
}

static unsigned char *bytes_of(PyObject *bytes)
{
    return (unsigned char *)PyBytes_AS_STRING(bytes);
}

/* --- cryptography ---------------------------------------------------------------------------- */

/* SHA-256 of the text "ce:<view>.<seqno>:<hex nonce>". */
static void evidence_digest(const Sealer *self, uint64_t view, uint64_t seqno,
                            unsigned char digest[DIGEST_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    char text[3 + NAME_MAX_SIZE + 1 + 2 * DIGEST_SIZE] = "ce:";
    char *name = text + 3, *at = put_decimal(name, view);
    *at++ = '.';
    at = put_decimal(at, seqno);
    unsigned char nonce[DIGEST_SIZE];
    Sha256 state = self->inner;
    sha256.update(&state, name, (size_t)(at - name));
    sha256.final(nonce, &state);
    state = self->outer;
    sha256.update(&state, nonce, sizeof nonce);
    sha256.final(nonce, &state);
    *at++ = ':';
    for (int i = 0; i < DIGEST_SIZE; i++) {
        *at++ = hex[nonce[i] >> 4];
        *at++ = hex[nonce[i] & 15];
    }
    sha256_of(text, (size_t)(at - text), NULL, 0, digest);
}

/* The Merkle leaf of a complete entry: evidence is hashed before claims. */
static PyObject *leaf_of(const unsigned char *entry, size_t size)
{
    PyObject *leaf = PyBytes_FromStringAndSize(NULL, DIGEST_SIZE);
    if (leaf == NULL)
        return NULL;
    unsigned char parts[3 * DIGEST_SIZE];
    sha256_of(entry, size, NULL, 0, parts);
    memcpy(parts + DIGEST_SIZE, entry + AT_EVIDENCE, DIGEST_SIZE);
    memcpy(parts + 2 * DIGEST_SIZE, entry + AT_CLAIMS, DIGEST_SIZE);
    sha256_of(parts, sizeof parts, NULL, 0, bytes_of(leaf));
    return leaf;
}

/* What both directions begin with: IV, public domain, and the private one from `from` to `to`. */
static int run(Context *context, const unsigned char *entry, int public_size,
                 const unsigned char *from, int size, unsigned char *to)
{
    int done;
    return evp.init(context, NULL, NULL, NULL, entry + AT_IV, -1) == 1 &&
           evp.update(context, NULL, &done, entry + AT_PUBLIC, public_size) == 1 &&
           (size == 0 || evp.update(context, to, &done, from, size) == 1);
}

/* The private domain in clear into `clear`, and whether both domains authenticate. */
static int decrypt(const Sealer *self, const unsigned char *entry, int public_size, int size,
                   unsigned char *clear)
{
    unsigned char tag[TAG_SIZE], rest[TAG_SIZE];
    int done;
    memcpy(tag, entry + AT_TAG, TAG_SIZE);
    if (run(self->decrypt, entry, public_size, entry + AT_PUBLIC + public_size, size, clear) &&
        evp.ctrl(self->decrypt, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) == 1 &&
        evp.final(self->decrypt, rest, &done) == 1)
        return 1;
    evp.clear_errors();
    return 0;
}

/* --- Sealer ---------------------------------------------------------------------------------- */

static Context *context_of(const unsigned char *key, int encrypts)
{
    Context *context = evp.new();
    if (context == NULL || evp.init(context, evp.aes_256_gcm(), NULL, key, NULL, encrypts) == 1)
        return context;
    evp.free(context);
    evp.clear_errors();
    return NULL;
}

static void begin_hmac(Sha256 *state, const unsigned char key[KEY_SIZE], unsigned char pad)
{
    unsigned char padded[SHA256_BLOCK];
    memset(padded, pad, sizeof padded);
    for (int i = 0; i < KEY_SIZE; i++)
        padded[i] ^= key[i];
    sha256.init(state);
    sha256.update(state, padded, sizeof padded);
    evp.cleanse(padded, sizeof padded);
}

static PyObject *sealer_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"", "", NULL};
    PyObject *key, *commit_secret;
    if (!PyArg_ParseTupleAndKeywords(args, named, "SS", names, &key, &commit_secret))
        return NULL;
    if (PyBytes_GET_SIZE(key) != KEY_SIZE || PyBytes_GET_SIZE(commit_secret) != KEY_SIZE) {
        PyErr_SetString(PyExc_ValueError, "ledger secrets and commit secrets have 32 bytes");
        return NULL;
    }
    Sealer *self = (Sealer *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    begin_hmac(&self->inner, bytes_of(commit_secret), 0x36);
    begin_hmac(&self->outer, bytes_of(commit_secret), 0x5c);
    self->encrypt = context_of(bytes_of(key), 1);
    self->decrypt = context_of(bytes_of(key), 0);
    if (self->encrypt == NULL || self->decrypt == NULL) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL refuses AES-256-GCM");
        return NULL;
    }
    return (PyObject *)self;
}

static void sealer_dealloc(Sealer *self)
{
    evp.free(self->encrypt); /* which wipes them; NULL is allowed */
    evp.free(self->decrypt);
    evp.cleanse(&self->inner, sizeof self->inner);
    evp.cleanse(&self->outer, sizeof self->outer);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *sealer_seal(Sealer *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t view, seqno, flags;
    if (!has_count(count, 6) || !number(args[0], VIEW_MAX, "a view has 31 bits", &view) ||
        !number(args[1], UINT64_MAX, "", &seqno) || !is_bytes(args[2], "public") ||
        !is_bytes(args[3], "private") || !is_bytes(args[4], "claims") ||
        !number(args[5], FLAGS_MAX, "flags have 8 bits", &flags))
        return NULL;
    PyObject *public = args[2], *private = args[3], *claims = args[4];
    if (PyBytes_GET_SIZE(claims) != DIGEST_SIZE) {
        PyErr_SetString(PyExc_AssertionError, "a claims digest has 32 bytes");
        return NULL;
    }
    Py_ssize_t sections_size = PyBytes_GET_SIZE(public), private_size = PyBytes_GET_SIZE(private);
    if (sections_size > INT_MAX - AT_SECTIONS || private_size > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "an entry's parts are too long to be sealed");
        return NULL;
    }
    Py_ssize_t public_size = AT_SECTIONS - AT_PUBLIC + sections_size;
    Py_ssize_t size = AT_PUBLIC + public_size + private_size;
    PyObject *data = PyBytes_FromStringAndSize(NULL, size);
    if (data == NULL)
        return NULL;
    unsigned char *entry = bytes_of(data);
    entry[AT_VERSION] = FORMAT_VERSION;
    entry[AT_FLAGS] = (unsigned char)flags;
    put(entry + AT_SIZE, (uint64_t)size - HEADER_SIZE, 6);
    put(entry + AT_IV, seqno, 8);
    put(entry + AT_IV_VIEW, view, 4);
    put(entry + AT_PUBLIC_SIZE, (uint64_t)public_size, 8);
    entry[AT_PUBLIC] = WITH_EVIDENCE_AND_CLAIMS;
    put(entry + AT_SEQNO, seqno, 8);
    memcpy(entry + AT_CLAIMS, bytes_of(claims), DIGEST_SIZE);
    evidence_digest(self, view, seqno, entry + AT_EVIDENCE);
    put(entry + AT_CONFLICT, 0, 8);
    memcpy(entry + AT_SECTIONS, bytes_of(public), (size_t)sections_size);
    unsigned char rest[TAG_SIZE];
    int done;
    if (!run(self->encrypt, entry, (int)public_size, bytes_of(private), (int)private_size,
               entry + AT_PUBLIC + public_size) ||
        evp.final(self->encrypt, rest, &done) != 1 ||
        evp.ctrl(self->encrypt, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, entry + AT_TAG) != 1) {
        evp.clear_errors();
        Py_DECREF(data);
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL could not seal an entry");
        return NULL;
    }
    PyObject *leaf = leaf_of(entry, (size_t)size);
    PyObject *made = leaf == NULL ? NULL : PyTuple_Pack(2, data, leaf);
    Py_DECREF(data);
    Py_XDECREF(leaf);
    return made;
}

static PyMethodDef sealer_methods[] = {
    {"seal", (PyCFunction)(void (*)(void))sealer_seal, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject Sealer_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "pyccf.ledger._sealing.Sealer",
    .tp_basicsize = sizeof(Sealer),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = sealer_new,
    .tp_dealloc = (destructor)sealer_dealloc,
    .tp_methods = sealer_methods,
};

/* --- entries of others ----------------------------------------------------------------------- */

/* Size of the public domain of an entry of today's form without flags, or -1 for any other. */
static int plain_public_size(const unsigned char *entry, Py_ssize_t size, uint64_t view,
                             uint64_t seqno)
{
    if (size < AT_SECTIONS || size > INT_MAX || entry[AT_VERSION] != FORMAT_VERSION ||
        entry[AT_FLAGS] != 0 || get(entry + AT_SIZE, 6) + HEADER_SIZE != (uint64_t)size ||
        get(entry + AT_IV, 8) != seqno || get(entry + AT_IV_VIEW, 4) != view ||
        entry[AT_PUBLIC] != WITH_EVIDENCE_AND_CLAIMS || get(entry + AT_SEQNO, 8) != seqno)
        return -1;
    uint64_t public_size = get(entry + AT_PUBLIC_SIZE, 8);
    if (public_size < AT_SECTIONS - AT_PUBLIC || public_size > (uint64_t)size - AT_PUBLIC)
        return -1;
    return (int)public_size;
}

static PyObject *unseal(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint64_t view, seqno;
    (void)module;
    if (!has_count(count, 4) || !is_bytes(args[0], "data") ||
        !number(args[1], UINT64_MAX, "", &view) || !number(args[2], UINT64_MAX, "", &seqno))
        return NULL;
    Sealer *sealer = args[3] == Py_None ? NULL : (Sealer *)args[3];
    if (sealer != NULL && !Py_IS_TYPE(args[3], &Sealer_Type)) {
        PyErr_SetString(PyExc_TypeError, "the fourth argument must be a Sealer or None");
        return NULL;
    }
    const unsigned char *entry = bytes_of(args[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    int public_size = plain_public_size(entry, size, view, seqno);
    if (public_size < 0)
        Py_RETURN_NONE;
    int private_size = sealer == NULL ? 0 : (int)size - AT_PUBLIC - public_size;
    PyObject *private = PyBytes_FromStringAndSize(NULL, private_size);
    if (private == NULL)
        return NULL;
    if (sealer != NULL && !decrypt(sealer, entry, public_size, private_size, bytes_of(private))) {
        Py_DECREF(private);
        Py_RETURN_NONE;
    }
    PyObject *public = PyBytes_FromStringAndSize((const char *)entry + AT_SECTIONS,
                                                 AT_PUBLIC + public_size - AT_SECTIONS);
    PyObject *leaf = public == NULL ? NULL : leaf_of(entry, (size_t)size);
    PyObject *found = leaf == NULL ? NULL : PyTuple_Pack(3, public, private, leaf);
    Py_XDECREF(public);
    Py_DECREF(private);
    Py_XDECREF(leaf);
    return found;
}

/* --- module ---------------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"unseal", (PyCFunction)(void (*)(void))unseal, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pyccf.ledger._sealing",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__sealing(void)
{
    const Symbol symbols[] = {{"EVP_CIPHER_CTX_new", (void **)&evp.new},
                              {"EVP_CIPHER_CTX_free", (void **)&evp.free},
                              {"EVP_aes_256_gcm", (void **)&evp.aes_256_gcm},
                              {"EVP_CipherInit_ex", (void **)&evp.init},
                              {"EVP_CipherUpdate", (void **)&evp.update},
                              {"EVP_CipherFinal_ex", (void **)&evp.final},
                              {"EVP_CIPHER_CTX_ctrl", (void **)&evp.ctrl},
                              {"ERR_clear_error", (void **)&evp.clear_errors},
                              {"OPENSSL_cleanse", (void **)&evp.cleanse},
                              {NULL, NULL}};
    if (!sha256_find() || !libcrypto_find(symbols) || PyType_Ready(&Sealer_Type) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddObjectRef(module, "Sealer", (PyObject *)&Sealer_Type) < 0)
        Py_CLEAR(module);
    return module;
}
