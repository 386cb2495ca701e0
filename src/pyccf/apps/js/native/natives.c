/* Functions of `ccf.*` and `console`: rows of a table, most of them Python callables. */

/* One letter per argument; a star after it: the same for all that follow.
 *   s text by String(v), up to a NUL      b ArrayBuffer        i integer
 *   t truth                               v any value          o options of ccf.crypto
 *   j JSON.stringify(v), OTHER if undefined                    d as the console shows it */
static PyObject *convert_argument(Vm *vm, char letter, JSValue v)
{
    JSContext *ctx = vm->ctx;
    PyObject *made = NULL;
    switch (letter) {
    case 's':
        made = python_text(vm, v, true);
        if (!made && !vm->pending)
            instead(ctx, "value is not a string");
        return made;
    case 'b':
        return python_buffer(vm, v, "ArrayBuffer object expected");
    case 'i': {
        int64_t n;
        if (v.tag == TAG_BIG_INT || v.tag == TAG_SHORT_BIG_INT) {
            JS_ThrowTypeError(ctx, "cannot convert bigint to number");
            return NULL;
        }
        if (OPEN(vm, JS_ToInt64(ctx, &n, v)) < 0)
            return NULL;
        made = PyLong_FromLongLong(n);
        break;
    }
    case 't':
        made = PyBool_FromLong(JS_ToBool(ctx, v) == 1);
        break;
    case 'o':
        return to_python_options(vm, v);
    case 'j':
    case 'd': {
        JSValue text = letter == 'j' ? OPEN(vm, JS_JSONStringify(ctx, v, JS_UNDEFINED, JS_UNDEFINED))
                                     : shown(ctx, v);
        if (is_undefined(text)) {
            Py_INCREF(py_other);
            return py_other;
        }
        made = is_exception(text) ? NULL : python_text(vm, text, true);
        JS_FreeValue(ctx, text);
        if (!made && !vm->pending)
            instead(ctx, "value is not a string");
        return made;
    }
    default:
        made = to_python(vm, v);
        if (!made && !vm->pending && !PyErr_Occurred())
            return NULL;
        break;
    }
    if (!made && PyErr_Occurred())
        stop_script(vm);
    return made;
}

static bool wrong_count(JSContext *ctx, int argc, const char *usual, int style)
{
    JS_ThrowTypeError(ctx, "Passed %d arguments%s but expected %s", argc,
                      style == STYLE_COMMA ? "," : "", usual);
    return true;
}

/* Characters after which further arguments of the console are not looked at: it shows no more. */
#define TOLD_ENOUGH ((size_t)1 << 20)

static JSValue call_native(Vm *vm, const Native *n, int argc, JSValue *argv)
{
    JSContext *ctx = vm->ctx;
    if (n->style != STYLE_ANY && (argc < n->min || argc > n->max) &&
        wrong_count(ctx, argc, n->usual, n->style))
        return JS_EXCEPTION;
    if ((!n->pure && acts_on_world(vm)) || too_late(vm))
        return JS_EXCEPTION;
    PyObject *few[1 + NATIVE_ARGS_MAX], **args = few, *many = NULL;
    int mark = vm->held_count;
    const char *spec = n->spec;
    bool star = spec[0] && spec[1] == '*';
    int wanted = star ? argc : (int)strlen(spec);
    if (wanted > argc)
        wanted = argc;
    if (wanted > NATIVE_ARGS_MAX) {
        many = PyBytes_FromStringAndSize(NULL, (wanted + 1) * (Py_ssize_t)sizeof *args);
        if (!many || !hold(vm, many)) {
            Py_XDECREF(many);
            return stop_script(vm);
        }
        args = (PyObject **)PyBytes_AS_STRING(many);
    }
    JSValue result = JS_EXCEPTION;
    int made = 0;
    args[0] = vm->host;
    size_t told = 0;
    while (made < wanted && told < TOLD_ENOUGH) {
        PyObject *arg = convert_argument(vm, spec[star ? 0 : made], argv[made]);
        if (!arg)
            goto done;
        args[++made] = arg;
        if (star && PyUnicode_Check(arg))
            told += (size_t)PyUnicode_GET_LENGTH(arg);
        if (!hold(vm, arg)) {
            stop_script(vm);
            goto done;
        }
    }
    PyObject *got = PyObject_Vectorcall(n->function, args, (size_t)made + 1, NULL);
    if (!got)
        result = python_failed(vm);
    else if (got == Py_None)
        result = JS_UNDEFINED;
    else
        result = from_python(vm, got, 0);
    Py_XDECREF(got);
done:
    vm->held_count = mark;
    for (int i = 0; i < made; i++)
        Py_DECREF(args[i + 1]);
    Py_XDECREF(many);
    return result;
}

static JSValue js_native(JSContext *ctx, JSValue self, int argc, JSValue *argv, int magic)
{
    (void)self;
    Vm *vm = vm_of(ctx);
    return SHUT(vm, call_native(vm, &vm->native[magic], argc, argv));
}

/* -- those on the hot path ---------------------------------------------------------------------- */

#define EXPECT(n)                                                                                  \
    do {                                                                                           \
        if (argc != (n) && wrong_count(ctx, argc, #n, STYLE_COMMA))                                \
            return JS_EXCEPTION;                                                                   \
    } while (0)

static JSValue js_str_to_buf(JSContext *ctx, JSValue self, int argc, JSValue *argv)
{
    (void)self;
    EXPECT(1);
    if (!is_string(argv[0]))
        return JS_ThrowTypeError(ctx, "Argument must be a string");
    size_t len;
    const char *s = JS_ToCStringLen2(ctx, &len, argv[0], false);
    if (!s)
        return JS_EXCEPTION;
    JSValue made = JS_NewArrayBufferCopy(ctx, (const uint8_t *)s, strnlen(s, len));
    JS_FreeCString(ctx, s);
    return made;
}

static JSValue js_buf_to_str(JSContext *ctx, JSValue self, int argc, JSValue *argv)
{
    (void)self;
    EXPECT(1);
    size_t len;
    const uint8_t *data = buffer_of(ctx, &len, argv[0]);
    if (!data)
        return JS_ThrowTypeError(ctx, "Argument must be an ArrayBuffer");
    return text_from_utf8(ctx, (const char *)data, len);
}

static JSValue js_json_to_buf(JSContext *ctx, JSValue self, int argc, JSValue *argv)
{
    (void)self;
    EXPECT(1);
    JSValue text = JS_JSONStringify(ctx, argv[0], JS_UNDEFINED, JS_UNDEFINED);
    if (is_exception(text))
        return JS_EXCEPTION;
    JSValue made = js_str_to_buf(ctx, JS_UNDEFINED, 1, &text);
    JS_FreeValue(ctx, text);
    return made;
}

static JSValue js_buf_to_json(JSContext *ctx, JSValue self, int argc, JSValue *argv)
{
    (void)self;
    EXPECT(1);
    size_t len;
    const uint8_t *data = buffer_of(ctx, &len, argv[0]);
    if (!data)
        return JS_ThrowTypeError(ctx, "Argument must be an ArrayBuffer");
    return SHUT(vm_of(ctx), parse_json(ctx, (const char *)data, len));
}

static const struct {
    const char *name;
    JSCFunction *function;
} quick_natives[] = {
    {"strToBuf", js_str_to_buf},
    {"bufToStr", js_buf_to_str},
    {"jsonCompatibleToBuf", js_json_to_buf},
    {"bufToJsonCompatible", js_buf_to_json},
};

/* -- installing ----------------------------------------------------------------------------------- */

/* The object at a dotted path from the global one, made where it is missing. */
static JSValue object_at(Vm *vm, const char *path)
{
    JSContext *ctx = vm->ctx;
    JSValue at = JS_GetGlobalObject(ctx);
    while (*path) {
        const char *dot = strchr(path, '.');
        size_t len = dot ? (size_t)(dot - path) : strlen(path);
        JSAtom atom = JS_NewAtomLen(ctx, path, len);
        JSValue next = JS_GetProperty(ctx, at, atom);
        if (is_undefined(next)) {
            next = JS_NewObject(ctx);
            if (!is_exception(next))
                JS_DefinePropertyValue(ctx, at, atom, JS_DupValue(ctx, next), PROP_CWE);
        }
        JS_FreeAtom(ctx, atom);
        JS_FreeValue(ctx, at);
        at = next;
        if (!is_object(at))
            break;
        path += len + (dot != NULL);
    }
    return at;
}

/* Row: (path, name, length, spec, usual, min, max, style, pure, function or None). */
static int install_row(Vm *vm, PyObject *row)
{
    JSContext *ctx = vm->ctx;
    const char *path, *name, *spec, *usual;
    int length, min, max, style, pure;
    PyObject *function;
    if (!PyArg_ParseTuple(row, "ssissiiipO", &path, &name, &length, &spec, &usual, &min, &max,
                          &style, &pure, &function))
        return -1;
    JSValue f = JS_EXCEPTION;
    if (function == Py_None && !strcmp(name, "kv")) {
        f = new_kv(vm, Py_None);
    } else if (function == Py_None) {
        for (size_t i = 0; i < sizeof quick_natives / sizeof *quick_natives; i++)
            if (!strcmp(quick_natives[i].name, name))
                f = JS_NewCFunction2(ctx, quick_natives[i].function, name, length, CFUNC_GENERIC, 0);
    } else {
        if (vm->natives == NATIVES_MAX || strlen(spec) > NATIVE_ARGS_MAX) {
            PyErr_SetString(PyExc_ValueError, "too many native functions or arguments");
            return -1;
        }
        Native *n = &vm->native[vm->natives];
        Py_INCREF(function);
        n->function = function;
        n->spec = spec;
        n->usual = usual;
        n->min = min;
        n->max = max;
        n->style = style;
        n->pure = pure != 0;
        union {
            JSCFunctionMagic *magic;
            JSCFunction *plain;
        } cast = {.magic = js_native};
        f = JS_NewCFunction2(ctx, cast.plain, name, length, CFUNC_GENERIC_MAGIC, vm->natives);
        vm->natives++;
    }
    JSValue object = object_at(vm, path);
    int flags = strcmp(path, "Math") ? PROP_CWE : PROP_WRITABLE | PROP_CONFIGURABLE;
    if (is_exception(f) || !is_object(object) ||
        JS_DefinePropertyValueStr(ctx, object, name, f, flags) < 0) {
        JS_FreeValue(ctx, object);
        PyErr_Format(PyExc_MemoryError, "cannot install %s.%s", path, name);
        return -1;
    }
    JS_FreeValue(ctx, object);
    return 0;
}
