/* SHA-256 for inner nodes of Merkle trees: see `_hashing.pyi`, and `hashing.py` for the same in
 * Python. */

#include "libcrypto.h"

/* Whether it is a digest; TypeError or ValueError otherwise. */
static int is_digest(PyObject *given)
{
    if (!PyBytes_Check(given))
        PyErr_Format(PyExc_TypeError, "a digest is bytes, not %s", Py_TYPE(given)->tp_name);
    else if (PyBytes_GET_SIZE(given) != DIGEST_SIZE)
        PyErr_SetString(PyExc_ValueError, "a digest has 32 bytes");
    else
        return 1;
    return 0;
}

static PyObject *sha256_pair(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "2 arguments expected, %zd given", count);
        return NULL;
    }
    if (!is_digest(args[0]) || !is_digest(args[1]))
        return NULL;
    PyObject *digest = PyBytes_FromStringAndSize(NULL, DIGEST_SIZE);
    if (digest != NULL)
        sha256_of(PyBytes_AS_STRING(args[0]), DIGEST_SIZE, PyBytes_AS_STRING(args[1]), DIGEST_SIZE,
                  (unsigned char *)PyBytes_AS_STRING(digest));
    return digest;
}

static PyMethodDef functions[] = {
    {"sha256_pair", (PyCFunction)(void (*)(void))sha256_pair, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pyccf.crypto._hashing",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__hashing(void)
{
    return sha256_find() ? PyModule_Create(&definition) : NULL;
}
