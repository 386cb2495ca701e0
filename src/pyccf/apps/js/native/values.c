/* Values across the border: text, buffers, JSON-like data; and errors in both directions. */

/* -- errors ------------------------------------------------------------------------------------ */

/* An exception that a script cannot catch. */
static void throw_interrupted(Vm *vm)
{
    JS_ThrowInternalError(vm->ctx, "interrupted");
    JSValue e = JS_GetException(vm->ctx);
    if (is_object(e))
        JS_SetUncatchableError(vm->ctx, e);
    JS_Throw(vm->ctx, e);
}

/* Keep the current Python exception (the first one counts) and stop the script for good. */
static JSValue stop_script(Vm *vm)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (!vm->pending && type) {
        PyErr_NormalizeException(&type, &value, &trace);
        if (trace)
            PyException_SetTraceback(value, trace);
        vm->pending = value;
        value = NULL;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    throw_interrupted(vm);
    return JS_EXCEPTION;
}

/* The original's engine words errors of native code in a buffer of this size. */
#define ERROR_TEXT_BYTES 256

/* Throw an error of a class, with as much of its message as the original would tell; `kind` is the
 * constructor's name. */
static JSValue throw_text(JSContext *ctx, const char *kind, const char *text, size_t len)
{
    switch (kind[0]) {
    case 'T': JS_ThrowTypeError(ctx, "%s", ""); break;
    case 'R': JS_ThrowRangeError(ctx, "%s", ""); break;
    case 'S': JS_ThrowSyntaxError(ctx, "%s", ""); break;
    case 'E': JS_ThrowPlainError(ctx, "%s", ""); break;
    default: JS_ThrowInternalError(ctx, "%s", ""); break;
    }
    JSValue e = JS_GetException(ctx);
    if (is_object(e)) {
        if (len >= ERROR_TEXT_BYTES)
            len = ERROR_TEXT_BYTES - 1;
        JSValue message = JS_NewStringLen(ctx, text, len);
        if (is_exception(message))
            JS_FreeValue(ctx, JS_GetException(ctx));
        else
            JS_DefinePropertyValueStr(ctx, e, "message", message, PROP_WRITABLE | PROP_CONFIGURABLE);
    }
    return JS_Throw(ctx, e);
}

/* The current Python exception as a JavaScript one: JsThrow is thrown, all else ends the script. */
static JSValue python_failed(Vm *vm)
{
    if (!PyErr_ExceptionMatches(class_js_throw))
        return stop_script(vm);
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *kind = PyObject_GetAttr(value, str_kind);
    PyObject *message = kind ? PyObject_GetAttr(value, str_message) : NULL;
    PyObject *raw = message ? PyUnicode_AsEncodedString(message, "utf-8", "surrogatepass") : NULL;
    const char *k = raw ? PyUnicode_AsUTF8(kind) : NULL;
    JSValue thrown;
    if (k)
        thrown = throw_text(vm->ctx, k, PyBytes_AS_STRING(raw), (size_t)PyBytes_GET_SIZE(raw));
    else
        thrown = stop_script(vm);
    Py_XDECREF(raw);
    Py_XDECREF(message);
    Py_XDECREF(kind);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return thrown;
}

static void drop_exception(JSContext *ctx)
{
    JS_FreeValue(ctx, JS_GetException(ctx));
}

/* Replace the exception in flight by a TypeError. */
static JSValue instead(JSContext *ctx, const char *message)
{
    drop_exception(ctx);
    return JS_ThrowTypeError(ctx, "%s", message);
}

/* To be asked before a script looks at the world or acts on it: true (with an exception that cannot
 * be caught) when this is a trial run. */
static bool acts_on_world(Vm *vm)
{
    vm->impure = true;
    if (!vm->trial)
        return false;
    throw_interrupted(vm);
    return true;
}

/* To be asked before work in Python: true (with an exception that cannot be caught) when there is no
 * time left. The engine looks at the clock only once in thousands of calls. */
static bool too_late(Vm *vm)
{
    if (!vm->deadline || clock_ns() <= vm->deadline)
        return false;
    vm->timed_out = true;
    throw_interrupted(vm);
    return true;
}

/* -- text -------------------------------------------------------------------------------------- */

/* One code point; -1 for an invalid sequence. Encoded surrogates and up to six bytes are read. */
static int64_t utf8_next(const uint8_t *p, const uint8_t *end, const uint8_t **next)
{
    static const uint32_t least[] = {0x80, 0x800, 0x10000, 0x200000, 0x4000000};
    uint32_t c = *p++;
    if (c < 0x80) {
        *next = p;
        return c;
    }
    int more;
    if (c >= 0xc0 && c <= 0xdf) more = 1;
    else if (c >= 0xe0 && c <= 0xef) more = 2;
    else if (c >= 0xf0 && c <= 0xf7) more = 3;
    else if (c >= 0xf8 && c <= 0xfb) more = 4;
    else if (c >= 0xfc && c <= 0xfd) more = 5;
    else return -1;
    if (end - p < more)
        return -1;
    c &= (1u << (6 - more)) - 1;
    for (int i = 0; i < more; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return -1;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[more - 1])
        return -1;
    *next = p + more;
    return c;
}

/* Text of bytes as the original decodes them (spec: js-runtime.md 4.2, bufToStr). */
static JSValue text_from_utf8(JSContext *ctx, const char *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)data, *end = p + len;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t w;
        memcpy(&w, data + i, 8);
        if (w & 0x8080808080808080u)
            break;
    }
    for (; i < len && p[i] < 0x80; i++)
        ;
    if (i == len)
        return JS_NewStringLen(ctx, data, len);
    uint16_t *units = js_malloc(ctx, len * sizeof(uint16_t));
    if (!units)
        return JS_EXCEPTION;
    size_t n = 0;
    while (p < end) {
        const uint8_t *next;
        int64_t c = utf8_next(p, end, &next);
        if (c >= 0 && c <= 0x10ffff) {
            p = next;
            if (c >= 0x10000) {
                c -= 0x10000;
                units[n++] = (uint16_t)(0xd800 + (c >> 10));
                units[n++] = (uint16_t)(0xdc00 + (c & 0x3ff));
            } else {
                units[n++] = (uint16_t)c;
            }
            continue;
        }
        while (p < end && (*p & 0xc0) == 0x80)
            p++;
        if (p < end) {
            p++;
            while (p < end && (*p & 0xc0) == 0x80)
                p++;
        }
        units[n++] = 0xfffd;
    }
    JSValue made = JS_NewStringUTF16(ctx, units, n);
    js_free(ctx, units);
    return made;
}

/* A Python text; bytes that came through surrogateescape are decoded again. */
static JSValue text_from_python(Vm *vm, PyObject *text)
{
    if (PyUnicode_IS_ASCII(text))
        return JS_NewStringLen(vm->ctx, PyUnicode_DATA(text), (size_t)PyUnicode_GET_LENGTH(text));
    PyObject *raw = PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
    if (!raw) {
        PyErr_Clear();
        raw = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
        if (!raw)
            return stop_script(vm);
    }
    JSValue made =
        text_from_utf8(vm->ctx, PyBytes_AS_STRING(raw), (size_t)PyBytes_GET_SIZE(raw));
    Py_DECREF(raw);
    return made;
}

/* String(v) in UTF-8, to be released with JS_FreeCString; NULL with an exception. */
static const char *utf8_of(JSContext *ctx, size_t *len, JSValue v)
{
    if (is_string(v))
        return OPEN(vm_of(ctx), JS_ToCStringLen2(ctx, len, v, false));
    JSValue s = OPEN(vm_of(ctx), JS_ToString(ctx, v));
    if (is_exception(s))
        return NULL;
    const char *c = OPEN(vm_of(ctx), JS_ToCStringLen2(ctx, len, s, false));
    JS_FreeValue(ctx, s);
    return c;
}

/* String(v) as Python text up to the first NUL, like every C string of the original.
 * NULL with a JavaScript exception in flight; vm->pending when Python failed. */
static PyObject *python_text(Vm *vm, JSValue v, bool cut)
{
    size_t len;
    const char *s = utf8_of(vm->ctx, &len, v);
    if (!s)
        return NULL;
    if (cut)
        len = strnlen(s, len);
    PyObject *made = PyUnicode_DecodeUTF8(s, (Py_ssize_t)len, "surrogatepass");
    JS_FreeCString(vm->ctx, s);
    if (!made)
        stop_script(vm);
    return made;
}

static PyObject *python_bytes(Vm *vm, const void *data, size_t len)
{
    PyObject *made = PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
    if (!made)
        stop_script(vm);
    return made;
}

/* What is shown of a value in logs and of a thrown one: objects as JSON, the rest as String(v). */
static JSValue shown(JSContext *ctx, JSValue v)
{
    if (!is_object(v) || JS_IsError(v))
        return OPEN(vm_of(ctx), JS_ToString(ctx, v));
    JSValue json = OPEN(vm_of(ctx), JS_JSONStringify(ctx, v, JS_UNDEFINED, JS_UNDEFINED));
    if (is_undefined(json))
        return JS_NewStringLen(ctx, "undefined", 9);
    return json;
}

/* Give a new object these members; takes object and values over, also when it fails. (The engine's
 * own JS_NewObjectFrom frees a value twice when memory runs out, and calls setters of the
 * prototype.) */
static JSValue object_from(JSContext *ctx, JSValue object, int count, const JSAtom *atoms,
                           const JSValue *values)
{
    int i = 0;
    if (!is_exception(object))
        while (i < count &&
               JS_DefinePropertyValue(ctx, object, atoms[i], values[i], PROP_CWE) >= 0)
            i++;
    if (!is_exception(object) && i == count)
        return object;
    for (i += !is_exception(object); i < count; i++)
        JS_FreeValue(ctx, values[i]);
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
}

/* -- JSON -------------------------------------------------------------------------------------- */

/* Parse JSON bytes. */
static JSValue parse_json(JSContext *ctx, const char *data, size_t len)
{
    char *copy = js_malloc(ctx, len + 1);
    if (!copy)
        return JS_EXCEPTION;
    memcpy(copy, data, len);
    copy[len] = 0;
    JSValue v = OPEN(vm_of(ctx), JS_ParseJSON(ctx, copy, len, "<json>"));
    js_free(ctx, copy);
    return v;
}

/* -- buffers ----------------------------------------------------------------------------------- */

/* Bytes of an ArrayBuffer or SharedArrayBuffer; NULL (no exception) for anything else. */
static const uint8_t *buffer_of(JSContext *ctx, size_t *len, JSValue v)
{
    /* The engine would make an error of most objects, with its trace, only to say no. */
    if (!is_object(v) || JS_GetClassID(v) == vm_of(ctx)->plain_class)
        return NULL;
    const uint8_t *data = JS_GetArrayBuffer(ctx, len, v);
    if (!data) {
        drop_exception(ctx);
        return NULL;
    }
    return data;
}

static PyObject *python_buffer(Vm *vm, JSValue v, const char *message)
{
    size_t len;
    const uint8_t *data = buffer_of(vm->ctx, &len, v);
    if (!data) {
        JS_ThrowTypeError(vm->ctx, "%s", message);
        return NULL;
    }
    return python_bytes(vm, data, len);
}

/* -- Python to JavaScript ---------------------------------------------------------------------- */

static JSValue new_kv(Vm *vm, PyObject *space);

/* None is null; UNDEFINED, bool, int, float, str, bytes (a copy in an ArrayBuffer), dict with text
 * keys, list, tuple and KvSpace. Anything else is a mistake of ours and ends the script. */
static JSValue from_python(Vm *vm, PyObject *o, int depth)
{
    JSContext *ctx = vm->ctx;
    if (o == Py_None || o == py_null)
        return JS_NULL;
    if (o == py_undefined)
        return JS_UNDEFINED;
    if (PyBool_Check(o))
        return js_bool(o == Py_True);
    if (PyUnicode_Check(o))
        return text_from_python(vm, o);
    if (PyBytes_Check(o))
        return JS_NewArrayBufferCopy(ctx, (uint8_t *)PyBytes_AS_STRING(o),
                                     (size_t)PyBytes_GET_SIZE(o));
    if (PyLong_Check(o)) {
        int overflow;
        long long n = PyLong_AsLongLongAndOverflow(o, &overflow);
        if (!overflow && n >= INT32_MIN && n <= INT32_MAX)
            return js_int((int32_t)n);
        double d = PyLong_AsDouble(o);
        if (d == -1.0 && PyErr_Occurred())
            return stop_script(vm);
        return JS_NewNumber(ctx, d);
    }
    if (PyFloat_Check(o))
        return JS_NewNumber(ctx, PyFloat_AS_DOUBLE(o));
    if (depth > 200) {
        PyErr_SetString(PyExc_RecursionError, "data nested too deeply for a script");
        return stop_script(vm);
    }
    if (PyDict_Check(o)) {
        JSValue made = JS_NewObject(ctx);
        if (is_exception(made))
            return made;
        PyObject *key, *value;
        Py_ssize_t at = 0;
        while (PyDict_Next(o, &at, &key, &value)) {
            if (!PyUnicode_Check(key)) {
                JS_FreeValue(ctx, made);
                PyErr_SetString(PyExc_TypeError, "member names are texts");
                return stop_script(vm);
            }
            JSValue k = text_from_python(vm, key);
            JSAtom atom = is_exception(k) ? 0 : JS_ValueToAtom(ctx, k);
            JS_FreeValue(ctx, k);
            JSValue v = atom ? from_python(vm, value, depth + 1) : JS_EXCEPTION;
            int done = is_exception(v) ? -1 : JS_DefinePropertyValue(ctx, made, atom, v, PROP_CWE);
            if (atom)
                JS_FreeAtom(ctx, atom);
            if (done < 0) {
                JS_FreeValue(ctx, made);
                return JS_EXCEPTION;
            }
        }
        return made;
    }
    if (PyList_Check(o) || PyTuple_Check(o)) {
        JSValue made = JS_NewArray(ctx);
        if (is_exception(made))
            return made;
        Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
        for (Py_ssize_t i = 0; i < n; i++) {
            JSValue v = from_python(vm, PySequence_Fast_GET_ITEM(o, i), depth + 1);
            if (is_exception(v) ||
                JS_DefinePropertyValueUint32(ctx, made, (uint32_t)i, v, PROP_CWE) < 0) {
                JS_FreeValue(ctx, made);
                return JS_EXCEPTION;
            }
        }
        return made;
    }
    int space = PyObject_IsInstance(o, class_kv_space);
    if (space > 0)
        return new_kv(vm, o);
    if (!space)
        PyErr_Format(PyExc_TypeError, "no JavaScript value for %.100s", Py_TYPE(o)->tp_name);
    return stop_script(vm);
}

/* -- JavaScript to Python ---------------------------------------------------------------------- */

/* undefined, null, booleans, numbers, texts and buffers as such, everything else as OTHER. */
static PyObject *to_python(Vm *vm, JSValue v)
{
    size_t len;
    const uint8_t *data;
    switch (v.tag) {
    case TAG_UNDEFINED: Py_INCREF(py_undefined); return py_undefined;
    case TAG_NULL: Py_RETURN_NONE;
    case TAG_BOOL: return PyBool_FromLong(v.u.int32);
    case TAG_INT: return PyLong_FromLong(v.u.int32);
    case TAG_FLOAT64: return PyFloat_FromDouble(v.u.float64);
    case TAG_STRING:
    case TAG_STRING_ROPE: return python_text(vm, v, false);
    case TAG_OBJECT:
        data = buffer_of(vm->ctx, &len, v);
        if (data)
            return python_bytes(vm, data, len);
        break;
    }
    Py_INCREF(py_other);
    return py_other;
}

/* The members an options object of `ccf.crypto` may have. */
static PyObject *to_python_options(Vm *vm, JSValue v)
{
    static const char *const names[] = {"name", "hash", "saltLength", "label", "aesKeySize"};
    enum { SALT_LENGTH = 2, KEY_SIZE = 4 };
    PyObject *made = PyDict_New();
    int mark = vm->held_count;
    if (!made || !hold(vm, made)) {
        Py_XDECREF(made);
        stop_script(vm);
        return NULL;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        JSValue member = OPEN(vm, JS_GetPropertyStr(vm->ctx, v, names[i]));
        PyObject *value = is_exception(member) ? NULL : to_python(vm, member);
        if (value == py_other && i != SALT_LENGTH && i != KEY_SIZE) {
            /* names follow the rules of String(v) */
            Py_DECREF(value);
            value = python_text(vm, member, true);
        } else if (value == py_other && is_object(member)) {
            /* sizes those of Number(v), which a symbol has not */
            double size;
            Py_DECREF(value);
            value = OPEN(vm, JS_ToFloat64(vm->ctx, &size, member)) < 0 ? NULL
                                                                       : PyFloat_FromDouble(size);
        }
        JS_FreeValue(vm->ctx, member);
        int done = value ? PyDict_SetItemString(made, names[i], value) : -1;
        Py_XDECREF(value);
        if (done < 0) {
            if (PyErr_Occurred())
                stop_script(vm);
            Py_CLEAR(made);
            break;
        }
    }
    vm->held_count = mark;
    return made;
}
