/* One call of an endpoint: the request object, and what the handler returned as a response
 * (spec: js-runtime.md 5, 6). */

enum { LAZY_HEADERS, LAZY_HOSTNAME, LAZY_CALLER };

static const AtomIndex lazy_atom[] = {ATOM_headers, ATOM_hostname, ATOM_caller};

static PyObject *attribute_of_request(Vm *vm, PyObject *name)
{
    PyObject *request = PyObject_GetAttr(vm->context, str_request);
    PyObject *got = request ? PyObject_GetAttr(request, name) : NULL;
    Py_XDECREF(request);
    return got;
}

/* Headers, host name and caller are made when first looked at: few handlers do. */
static JSValue lazy_make(Vm *vm, int which)
{
    PyObject *got;
    JSValue made;
    if (which == LAZY_CALLER) {
        PyObject *args[] = {vm->host, vm->context};
        got = PyObject_VectorcallMethod(str_caller_object, args, 2, NULL);
    } else if (which == LAZY_HEADERS) {
        PyObject *args[] = {vm->host, vm->context};
        got = PyObject_VectorcallMethod(str_headers_object, args, 2, NULL);
    } else {
        got = attribute_of_request(vm, str_headers);
    }
    if (got && which == LAZY_HOSTNAME) {
        PyObject *host = PyDict_Check(got) ? PyDict_GetItemWithError(got, str_host) : NULL;
        if (!host && !PyErr_Occurred())
            host = Py_None;
        Py_XINCREF(host);
        Py_DECREF(got);
        got = host;
    }
    if (!got)
        return stop_script(vm);
    made = from_python(vm, got, 0);
    Py_DECREF(got);
    return made;
}

static JSValue lazy_value(Vm *vm, int which)
{
    if (!vm->context)
        return JS_UNDEFINED;
    if (is_undefined(vm->lazy[which])) {
        JSValue made = lazy_make(vm, which);
        if (is_exception(made))
            return made;
        vm->lazy[which] = made;
    }
    return JS_DupValue(vm->ctx, vm->lazy[which]);
}

static JSValue js_lazy_get(JSContext *ctx, JSValue self, int which)
{
    Vm *vm = vm_of(ctx);
    JSValue v = SHUT(vm, lazy_value(vm, which));
    if (!is_exception(v) && is_object(self) && self.u.ptr == vm->request)
        JS_DefinePropertyValue(ctx, self, vm->atom[lazy_atom[which]], JS_DupValue(ctx, v), PROP_CWE);
    return v;
}

static JSValue js_lazy_set(JSContext *ctx, JSValue self, JSValue value, int which)
{
    Vm *vm = vm_of(ctx);
    if (!is_object(self))
        return JS_ThrowTypeError(ctx, "not an object");
    if (JS_DefinePropertyValue(ctx, self, vm->atom[lazy_atom[which]], JS_DupValue(ctx, value),
                               PROP_CWE) < 0)
        return JS_EXCEPTION;
    return JS_UNDEFINED;
}

enum { BODY_TEXT, BODY_JSON, BODY_BUFFER };

/* Acts on the request that runs now, also when the object is an old one. */
static JSValue js_body(JSContext *ctx, JSValue self, int argc, JSValue *argv, int which)
{
    (void)self;
    (void)argv;
    Vm *vm = vm_of(ctx);
    if (argc && wrong_count(ctx, argc, "none", STYLE_COMMA))
        return JS_EXCEPTION;
    const char *data = vm->body ? PyBytes_AS_STRING(vm->body) : "";
    size_t len = vm->body ? (size_t)PyBytes_GET_SIZE(vm->body) : 0;
    switch (which) {
    case BODY_TEXT: return text_from_utf8(ctx, data, len);
    case BODY_JSON: return SHUT(vm, parse_json(ctx, data, len));
    default: return JS_NewArrayBufferCopy(ctx, (const uint8_t *)data, len);
    }
}

static JSValue request_text(Vm *vm, PyObject *from, PyObject *name)
{
    PyObject *text = PyObject_GetAttr(from, name);
    if (!text)
        return stop_script(vm);
    JSValue made = PyUnicode_Check(text) ? text_from_python(vm, text) : JS_NULL;
    Py_DECREF(text);
    return made;
}

static JSValue request_url(Vm *vm, JSValue path, JSValue query)
{
    JSContext *ctx = vm->ctx;
    size_t p, q;
    const char *path_text = JS_ToCStringLen2(ctx, &p, path, false);
    const char *query_text = path_text ? JS_ToCStringLen2(ctx, &q, query, false) : NULL;
    JSValue url = JS_EXCEPTION;
    if (query_text && !q) {
        url = JS_DupValue(ctx, path);
    } else if (query_text) {
        char *joined = js_malloc(ctx, p + q + 1);
        if (joined) {
            memcpy(joined, path_text, p);
            joined[p] = '?';
            memcpy(joined + p + 1, query_text, q);
            url = text_from_utf8(ctx, joined, p + q + 1);
            js_free(ctx, joined);
        }
    }
    if (path_text)
        JS_FreeCString(ctx, path_text);
    if (query_text)
        JS_FreeCString(ctx, query_text);
    return url;
}

/* The request object; its members in the order of the original. */
static JSValue new_request(Vm *vm)
{
    JSContext *ctx = vm->ctx;
    PyObject *python = PyObject_GetAttr(vm->context, str_request);
    if (!python)
        return stop_script(vm);
    JSValue request = JS_NewObject(ctx);
    JSValue query = request_text(vm, python, str_query);
    JSValue path = request_text(vm, python, str_path);
    JSValue method = request_text(vm, python, str_method);
    Py_DECREF(python);
    JSValue route = request_text(vm, vm->context, str_route);
    JSValue url = is_exception(path) || is_exception(query) ? JS_EXCEPTION
                                                            : request_url(vm, path, query);
    PyObject *python_params = PyObject_GetAttr(vm->context, str_params);
    JSValue params = python_params ? from_python(vm, python_params, 0) : stop_script(vm);
    Py_XDECREF(python_params);
    JSAtom names[3] = {vm->atom[ATOM_text], vm->atom[ATOM_json], vm->atom[ATOM_arrayBuffer]};
    JSValue methods[3];
    for (int i = 0; i < 3; i++)
        methods[i] = JS_DupValue(ctx, vm->body_method[i]);
    JSValue body = object_from(ctx, JS_NewObject(ctx), 3, names, methods);
    struct {
        AtomIndex atom;
        JSValue value;
        int lazy;
    } rows[] = {
        {ATOM_headers, JS_UNDEFINED, LAZY_HEADERS},
        {ATOM_query, query, -1},
        {ATOM_path, path, -1},
        {ATOM_method, method, -1},
        {ATOM_hostname, JS_UNDEFINED, LAZY_HOSTNAME},
        {ATOM_route, route, -1},
        {ATOM_url, url, -1},
        {ATOM_params, params, -1},
        {ATOM_body, body, -1},
        {ATOM_caller, JS_UNDEFINED, LAZY_CALLER},
    };
    bool failed = is_exception(request);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        failed |= is_exception(rows[i].value);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (failed)
            JS_FreeValue(ctx, rows[i].value);
        else if (rows[i].lazy < 0)
            failed = JS_DefinePropertyValue(ctx, request, vm->atom[rows[i].atom], rows[i].value,
                                            PROP_CWE) < 0;
        else
            failed = JS_DefinePropertyGetSet(ctx, request, vm->atom[rows[i].atom],
                                             JS_DupValue(ctx, vm->lazy_getter[rows[i].lazy]),
                                             JS_DupValue(ctx, vm->lazy_setter[rows[i].lazy]),
                                             PROP_CONFIGURABLE | PROP_ENUMERABLE) < 0;
    }
    if (failed) {
        JS_FreeValue(ctx, request);
        return JS_EXCEPTION;
    }
    vm->request = request.u.ptr;
    return request;
}

/* How many references an object has: this engine keeps that in the 32 bits before it. */
static int32_t references(JSValue object)
{
    return ((int32_t *)object.u.ptr)[-1];
}

/* Whether the engine counts where `references` looks. */
static bool counts_as_expected(JSContext *ctx)
{
    JSValue object = JS_NewObject(ctx);
    if (is_exception(object))
        return false;
    bool expected = references(object) == 1;
    JSValue other = JS_DupValue(ctx, object);
    expected = expected && references(object) == 2;
    JS_FreeValue(ctx, other);
    JS_FreeValue(ctx, object);
    return expected;
}

/* A script may have kept its request object: then what was lazy must stay what it was. */
static void settle_request(Vm *vm, JSValue request)
{
    if (is_object(request) && references(request) > 1)
        for (int which = 0; which < 3; which++)
            JS_FreeValue(vm->ctx,
                         OPEN(vm, JS_GetProperty(vm->ctx, request, vm->atom[lazy_atom[which]])));
    if (JS_HasException(vm->ctx))
        drop_exception(vm->ctx);
    for (int which = 0; which < 3; which++) {
        JS_FreeValue(vm->ctx, vm->lazy[which]);
        vm->lazy[which] = JS_UNDEFINED;
    }
    vm->request = NULL;
    JS_FreeValue(vm->ctx, request);
}

/* ccf.kv, ccf.rpc (and ccf.historicalState) of this request. */
static int fresh_globals(Vm *vm, PyObject *historical)
{
    JSContext *ctx = vm->ctx;
    int done = 0;
    if (!vm->kv_per_request && historical == Py_None)
        return 0;
    JSValue global = JS_GetGlobalObject(ctx);
    JSValue ccf = OPEN(vm, JS_GetProperty(ctx, global, vm->atom[ATOM_ccf]));
    if (is_exception(ccf))
        drop_exception(ctx);
    if (!is_object(ccf)) {
        JS_FreeValue(ctx, ccf);
        ccf = JS_NewObject(ctx);
        if (!is_exception(ccf))
            done = JS_DefinePropertyValue(ctx, global, vm->atom[ATOM_ccf], JS_DupValue(ctx, ccf),
                                          PROP_CWE);
    }
    JS_FreeValue(ctx, global);
    if (is_exception(ccf))
        return -1;
    if (vm->kv_per_request) {
        JSValue kv = new_kv(vm, Py_None);
        if (is_exception(kv) ||
            OPEN(vm, JS_DefinePropertyValue(ctx, ccf, vm->atom[ATOM_kv], kv, PROP_CWE)) < 0)
            done = -1;
        if (is_object(vm->rpc_template)) {
            JSValue rpc = JS_NewObject(ctx);
            JSPropertyEnum *names;
            uint32_t count;
            if (is_exception(rpc) || JS_GetOwnPropertyNames(ctx, &names, &count, vm->rpc_template,
                                                            NAMES_STRING) < 0) {
                JS_FreeValue(ctx, rpc);
                done = -1;
            } else {
                for (uint32_t i = 0; i < count; i++)
                    if (JS_DefinePropertyValue(
                            ctx, rpc, names[i].atom,
                            OPEN(vm, JS_GetProperty(ctx, vm->rpc_template, names[i].atom)),
                            PROP_CWE) < 0)
                        done = -1;
                JS_FreePropertyEnum(ctx, names, count);
                if (OPEN(vm, JS_DefinePropertyValue(ctx, ccf, vm->atom[ATOM_rpc], rpc, PROP_CWE)) < 0)
                    done = -1;
            }
        }
    }
    if (historical != Py_None && done >= 0) {
        JSValue state = from_python(vm, historical, 0);
        if (is_exception(state) ||
            OPEN(vm, JS_DefinePropertyValue(ctx, ccf, vm->atom[ATOM_historicalState], state,
                                            PROP_CWE)) < 0)
            done = -1;
    }
    JS_FreeValue(ctx, ccf);
    return done;
}

/* -- the response ---------------------------------------------------------------------------------- */

static const char not_object[] = "Invalid endpoint function return value (not an object).";
static const char bad_json[] =
    "Invalid endpoint function return value (error during JSON conversion of body).";
static const char bad_text[] =
    "Invalid endpoint function return value (error during string conversion of body).";
static const char bad_header[] = "Invalid endpoint function return value (header type).";
static const char bad_header_value[] =
    "Invalid endpoint function return value (header value type).";
static const char bad_status[] = "Invalid endpoint function return value (status code type).";

typedef struct {
    PyObject *body, *headers;
    long status;
    const char *wrong;
} Response;

static void set_header(Vm *vm, Response *r, const char *name, PyObject *value)
{
    if (value && PyDict_SetItemString(r->headers, name, value) < 0)
        stop_script(vm);
    Py_XDECREF(value);
}

static void set_content_type(Vm *vm, Response *r, const char *type)
{
    set_header(vm, r, "content-type", PyUnicode_FromString(type));
}

static void response_body(Vm *vm, Response *r, JSValue result)
{
    JSContext *ctx = vm->ctx;
    JSValue body = OPEN(vm, JS_GetProperty(ctx, result, vm->atom[ATOM_body]));
    size_t len;
    const uint8_t *data;
    if (is_undefined(body)) {
        r->body = python_bytes(vm, "", 0);
        return;
    }
    if ((data = buffer_of(ctx, &len, body))) {
        r->body = python_bytes(vm, data, len);
        set_content_type(vm, r, "application/octet-stream");
    } else if (is_object(body) && JS_GetTypedArrayType(body) >= 0) {
        size_t offset, view;
        JSValue buffer = JS_GetTypedArrayBuffer(ctx, body, &offset, &view, NULL);
        data = is_exception(buffer) ? NULL : buffer_of(ctx, &len, buffer);
        if (data && offset <= len && view <= len - offset) {
            r->body = python_bytes(vm, data + offset, view);
            set_content_type(vm, r, "application/octet-stream");
        } else {
            r->wrong = bad_json;
        }
        JS_FreeValue(ctx, buffer);
    } else if (is_string(body)) {
        const char *text = utf8_of(ctx, &len, body);
        if (text) {
            r->body = python_bytes(vm, text, strnlen(text, len));
            JS_FreeCString(ctx, text);
            set_content_type(vm, r, "text/plain");
        } else {
            r->wrong = bad_text;
        }
    } else {
        JSValue json = is_exception(body)
                           ? body
                           : OPEN(vm, JS_JSONStringify(ctx, body, JS_UNDEFINED, JS_UNDEFINED));
        const char *text = is_exception(json) ? NULL : utf8_of(ctx, &len, json);
        if (text) {
            r->body = python_bytes(vm, text, strnlen(text, len));
            JS_FreeCString(ctx, text);
            set_content_type(vm, r, "application/json");
        } else {
            r->wrong = is_exception(json) ? bad_json : bad_text;
        }
        JS_FreeValue(ctx, json);
    }
    JS_FreeValue(ctx, body);
}

static void response_headers(Vm *vm, Response *r, JSValue result)
{
    JSContext *ctx = vm->ctx;
    JSValue headers = OPEN(vm, JS_GetProperty(ctx, result, vm->atom[ATOM_headers]));
    if (is_exception(headers)) {
        if (!vm->pending && !vm->timed_out)
            drop_exception(ctx); /* a getter that throws counts as absent */
        return;
    }
    if (!is_object(headers)) {
        JS_FreeValue(ctx, headers);
        return;
    }
    JSPropertyEnum *names;
    uint32_t count;
    if (OPEN(vm, JS_GetOwnPropertyNames(ctx, &names, &count, headers,
                                        NAMES_STRING | NAMES_ENUM_ONLY)) < 0) {
        r->wrong = bad_header;
        JS_FreeValue(ctx, headers);
        return;
    }
    size_t total = 0;
    for (uint32_t i = 0; i < count && !r->wrong; i++) {
        JSValue name = JS_AtomToString(ctx, names[i].atom);
        PyObject *key = is_exception(name) ? NULL : python_text(vm, name, true);
        JS_FreeValue(ctx, name);
        if (!key) {
            r->wrong = bad_header;
            break;
        }
        int mark = vm->held_count;
        if (!hold(vm, key)) {
            Py_DECREF(key);
            stop_script(vm);
            break;
        }
        JSValue value = OPEN(vm, JS_GetProperty(ctx, headers, names[i].atom));
        PyObject *text = is_exception(value) ? NULL : python_text(vm, value, true);
        JS_FreeValue(ctx, value);
        vm->held_count = mark;
        /* One long text can be the value of many headers: they may not outgrow the heap either. */
        total += text ? (size_t)PyUnicode_GET_LENGTH(text) : 0;
        bool too_long = vm->heap_now && total > vm->heap_now;
        if (too_long)
            PyDict_Clear(r->headers);
        if (!text || too_long)
            r->wrong = bad_header_value;
        else if (PyDict_SetItem(r->headers, key, text) < 0)
            stop_script(vm);
        Py_XDECREF(text);
        Py_DECREF(key);
    }
    JS_FreePropertyEnum(ctx, names, count);
    JS_FreeValue(ctx, headers);
}

static void response_status(Vm *vm, Response *r, JSValue result)
{
    JSValue status = OPEN(vm, JS_GetProperty(vm->ctx, result, vm->atom[ATOM_statusCode]));
    if (is_undefined(status) || status.tag == TAG_NULL)
        r->status = 200;
    else if (status.tag == TAG_INT)
        r->status = status.u.int32;
    else if (status.tag == TAG_FLOAT64 && status.u.float64 > 0 && status.u.float64 < 1000 &&
             status.u.float64 == (int)status.u.float64)
        r->status = (int)status.u.float64; /* this engine's JSON.parse makes no integers */
    else
        r->wrong = bad_status;
    JS_FreeValue(vm->ctx, status);
}

/* Body, headers, status: read in this order. `wrong` names the first thing that cannot be used.
 * What is made is held (the caller undoes that). */
static Response respond(Vm *vm, JSValue result)
{
    Response r = {NULL, PyDict_New(), 0, NULL};
    if (!r.headers || !hold(vm, r.headers))
        stop_script(vm);
    else if (!is_object(result))
        r.wrong = not_object;
    else {
        response_body(vm, &r, result);
        if (r.body && !hold(vm, r.body))
            stop_script(vm);
        if (!r.wrong && !vm->pending)
            response_headers(vm, &r, result);
        if (!r.wrong && !vm->pending)
            response_status(vm, &r, result);
    }
    return r;
}
