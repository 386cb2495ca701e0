/* The Vm object: making an interpreter, running things in it within limits, and the copy of its
 * memory that makes it fresh again. */

/* -- limits ------------------------------------------------------------------------------------- */

#define STACK_MARGIN ((size_t)384 << 10) /* left for the engine's own and Python's frames */

static _Thread_local uintptr_t stack_end; /* lowest usable address of this thread's stack */

/* Never promise more stack than this thread really has. */
static size_t stack_allowed(size_t wanted)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (!stack_end) {
        pthread_attr_t attr;
        void *base;
        size_t size;
        stack_end = here > ((uintptr_t)1 << 20) ? here - ((uintptr_t)1 << 20) : 1;
        if (!pthread_getattr_np(pthread_self(), &attr)) {
            if (!pthread_attr_getstack(&attr, &base, &size))
                stack_end = (uintptr_t)base;
            pthread_attr_destroy(&attr);
        }
    }
    size_t left = here > stack_end ? here - stack_end : 0;
    left = left > 2 * STACK_MARGIN ? left - STACK_MARGIN : STACK_MARGIN;
    return !wanted || wanted > left ? left : wanted;
}

static int interrupt(JSRuntime *rt, void *opaque)
{
    (void)rt;
    Vm *vm = opaque;
    if (vm->pending)
        return 1;
    if (vm->deadline && clock_ns() > vm->deadline) {
        vm->timed_out = true;
        return 1;
    }
    return 0;
}

static void bound(Vm *vm, const Bounds *b)
{
    JS_SetMemoryLimit(vm->rt, vm->heap_now = b->heap);
    JS_SetMaxStackSize(vm->rt, vm->stack_now = stack_allowed(b->stack));
    JS_UpdateStackTop(vm->rt);
    vm->deadline = b->time_ms > 0 ? clock_ns() + (uint64_t)b->time_ms * 1000000u : 0;
    if (vm->until && (!vm->deadline || vm->deadline > vm->until))
        vm->deadline = vm->until;
    atomic_store_explicit(&vm->due, vm->deadline ? vm->deadline + ALARM_GRACE_NS : UINT64_MAX,
                          memory_order_relaxed);
    vm->timed_out = false;
}

/* Bounds for looking at what a call gave: memory as outside of it, time as within. */
static void bound_result(Vm *vm)
{
    Bounds b = vm->outside;
    b.time_ms = vm->inside.time_ms;
    bound(vm, &b);
}

/* Begin to use the interpreter; NULL result means it is in use already. */
static bool enter(Vm *vm)
{
    if (vm->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this interpreter is running");
        return false;
    }
    if (!vm->ctx) {
        PyErr_SetString(PyExc_RuntimeError, "this interpreter is closed");
        return false;
    }
    if (vm->spent) {
        PyErr_SetString(PyExc_RuntimeError, "this interpreter has to be restored first");
        return false;
    }
    vm->busy = true;
    vm->dirty = true;
    vm->kept = 0;
    bound(vm, &vm->outside);
    return true;
}

/* End of use: a Python exception that went through the script continues now. */
static bool leave(Vm *vm)
{
    vm->busy = false;
    vm->deadline = 0;
    JS_SetMemoryLimit(vm->rt, 0);
    if (!vm->pending)
        return true;
    if (JS_HasException(vm->ctx))
        drop_exception(vm->ctx);
    PyObject *e = vm->pending;
    vm->pending = NULL;
    if (PyErr_Occurred())
        PyErr_Clear();
    PyErr_SetObject((PyObject *)Py_TYPE(e), e);
    Py_DECREF(e);
    return false;
}

/* -- exceptions ------------------------------------------------------------------------------------ */

static PyObject *text_or_empty(Vm *vm, JSValue text)
{
    PyObject *made = is_exception(text) ? NULL : python_text(vm, text, true);
    JS_FreeValue(vm->ctx, text);
    if (!made && !vm->pending) {
        drop_exception(vm->ctx);
        made = PyUnicode_FromString("");
    }
    return made;
}

/* Raise JsError(message, trace or None, timed_out, milliseconds, the trace with columns or None) for
 * the exception in flight. */
static PyObject *raise_js_error(Vm *vm)
{
    JSContext *ctx = vm->ctx;
    bool timed_out = vm->timed_out;
    JSValue e = JS_GetException(ctx);
    bound_result(vm);
    PyObject *trace = Py_NewRef(Py_None), *exact = Py_NewRef(Py_None);
    PyObject *message = text_or_empty(vm, shown(ctx, e));
    int mark = vm->held_count;
    if (message && !hold(vm, message)) {
        stop_script(vm);
        Py_CLEAR(message);
    }
    if (message && is_object(e) && JS_IsError(e)) {
        JSValue stack = OPEN(vm, JS_GetProperty(ctx, e, vm->atom[ATOM_stack]));
        if (is_undefined(stack) || stack.tag == TAG_NULL) {
            JS_FreeValue(ctx, stack);
        } else {
            Py_DECREF(trace);
            trace = text_or_empty(vm, stack);
            if (trace && hold(vm, trace)) {
                JSValue kept = OPEN(vm, exact_trace(vm, e));
                if (!is_undefined(kept)) {
                    Py_DECREF(exact);
                    exact = text_or_empty(vm, kept);
                }
            } else if (trace) {
                stop_script(vm);
                Py_CLEAR(trace);
            }
        }
    }
    vm->held_count = mark;
    JS_FreeValue(ctx, e);
    PyObject *ms = PyFloat_FromDouble(vm->call_ms);
    if (message && trace && ms && exact) {
        PyObject *args[] = {message, trace, timed_out ? Py_True : Py_False, ms, exact};
        PyObject *error = PyObject_Vectorcall(class_js_error, args, 5, NULL);
        if (error) {
            PyErr_SetObject(class_js_error, error);
            Py_DECREF(error);
        }
    }
    Py_XDECREF(ms);
    Py_XDECREF(message);
    Py_XDECREF(trace);
    Py_XDECREF(exact);
    if (PyErr_Occurred() && vm->pending)
        PyErr_Clear();
    return NULL;
}

/* -- modules ------------------------------------------------------------------------------------- */

static JSModuleDef *find_module(Vm *vm, const char *name)
{
    JSContext *ctx = vm->ctx;
    PyObject *text = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "surrogatepass");
    PyObject *args[] = {vm->host, text};
    PyObject *source = text ? PyObject_VectorcallMethod(str_load_module, args, 2, NULL) : NULL;
    Py_XDECREF(text);
    if (!source) {
        stop_script(vm);
        return NULL;
    }
    JSModuleDef *module = NULL;
    int mark = vm->held_count;
    if (!hold(vm, source)) {
        stop_script(vm);
    } else if (PyBytes_Check(source)) {
        JSValue m = OPEN(vm, JS_Eval(ctx, PyBytes_AS_STRING(source), (size_t)PyBytes_GET_SIZE(source),
                                     name, EVAL_MODULE | EVAL_COMPILE_ONLY));
        if (!is_exception(m)) {
            module = m.u.ptr;
            JS_FreeValue(ctx, m);
        } else if (!vm->pending) {
            drop_exception(ctx);
        }
    }
    vm->held_count = mark;
    Py_DECREF(source);
    if (!module && !vm->pending)
        JS_Throw(ctx, JS_NULL); /* a file that cannot be imported has no better reason */
    return module;
}

static JSModuleDef *load_module(JSContext *ctx, const char *name, void *opaque)
{
    (void)ctx;
    Vm *vm = opaque;
    return SHUT(vm, find_module(vm, name));
}

/* Specifiers with a leading dot are relative to the importing module; nothing lies above the root.
 * With `rooted` names every module is known by its path from the root. */
static char *normalize(JSContext *ctx, const char *base, const char *name, void *opaque)
{
    Vm *vm = opaque;
    (void)vm;
    size_t base_len = 0;
    bool relative = name[0] == '.';
    if (relative) {
        const char *slash = strrchr(base, '/');
        base_len = slash ? (size_t)(slash - base) : 0;
    }
    bool rooted = base[0] == '/';
    size_t room = base_len + strlen(name) + 3;
    char *joined = js_malloc(ctx, room);
    if (!joined)
        return NULL;
    if (!relative) {
        snprintf(joined, room, "%s%s", rooted && name[0] != '/' ? "/" : "", name);
        return joined;
    }
    snprintf(joined, room, "%.*s/%s", (int)base_len, base, name);
    /* Collapse segments in place. */
    char *out = joined;
    const char *p = joined;
    bool above = false;
    size_t n = 0;
    if (rooted)
        out[n++] = '/';
    size_t floor_at = n;
    while (*p) {
        const char *slash = strchr(p, '/');
        size_t len = slash ? (size_t)(slash - p) : strlen(p);
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            if (n <= floor_at) {
                above = true;
                break;
            }
            while (n > floor_at && out[n - 1] != '/')
                n--;
            if (n > floor_at)
                n--;
        } else if (len && !(len == 1 && p[0] == '.')) {
            if (n > floor_at)
                out[n++] = '/';
            memmove(out + n, p, len);
            n += len;
        }
        p += len + (slash != NULL);
    }
    out[n] = 0;
    if (above) {
        js_free(ctx, joined);
        JS_Throw(ctx, JS_NULL);
        return NULL;
    }
    return joined;
}

static PyObject *compile(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyUnicode_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "compile(name: str, source: bytes)");
        return NULL;
    }
    PyObject *raw = PyUnicode_AsEncodedString(args[0], "utf-8", "surrogatepass");
    if (!raw)
        return NULL;
    if (vm->module_count == vm->module_room) {
        int room = vm->module_room ? 2 * vm->module_room : 8;
        JSValue *more = realloc(vm->modules, (size_t)room * sizeof *more);
        if (!more) {
            Py_DECREF(raw);
            return PyErr_NoMemory();
        }
        vm->modules = more;
        vm->module_room = room;
    }
    PyObject *result = NULL;
    int mark = vm->held_count;
    if (hold(vm, raw) && enter(vm)) {
        JSValue m = OPEN(vm, JS_Eval(vm->ctx, PyBytes_AS_STRING(args[1]),
                                     (size_t)PyBytes_GET_SIZE(args[1]), PyBytes_AS_STRING(raw),
                                     EVAL_MODULE | EVAL_COMPILE_ONLY));
        if (is_exception(m)) {
            if (!vm->pending)
                raise_js_error(vm);
        } else {
            vm->modules[vm->module_count] = m;
            result = PyLong_FromLong(vm->module_count++);
        }
        if (!leave(vm))
            Py_CLEAR(result);
    }
    vm->held_count = mark;
    Py_DECREF(raw);
    return result;
}

static bool module_index(Vm *vm, PyObject *o, long *index)
{
    *index = PyLong_AsLong(o);
    if (*index == -1 && PyErr_Occurred())
        return false;
    if (*index < 0 || *index >= vm->module_count) {
        PyErr_SetString(PyExc_IndexError, "no such module");
        return false;
    }
    return true;
}

/* Link and run a module body. What its top level throws stays in a promise nobody looks at. */
static PyObject *evaluate(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    (void)count;
    long index;
    if (!module_index(vm, args[0], &index) || !enter(vm))
        return NULL;
    JSValue promise =
        OPEN(vm, JS_EvalFunction(vm->ctx, JS_DupValue(vm->ctx, vm->modules[index])));
    if (!vm->pending && (is_exception(promise) || vm->timed_out)) {
        if (!is_exception(promise))
            JS_ThrowInternalError(vm->ctx, "interrupted");
        raise_js_error(vm);
    }
    JS_FreeValue(vm->ctx, promise);
    bool fine = !PyErr_Occurred();
    if (!fine || vm->pending) {
        /* No call follows that would forget this request's tables: another one must not get them. */
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        kv_forget(vm, true);
        PyErr_Restore(type, value, trace);
    }
    if (!leave(vm) || !fine)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *bytecode(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    (void)count;
    long index;
    if (!module_index(vm, args[0], &index) || !enter(vm))
        return NULL;
    size_t len;
    uint8_t *data = OPEN(vm, JS_WriteObject(vm->ctx, &len, vm->modules[index], WRITE_BYTECODE));
    PyObject *made = NULL;
    if (data) {
        made = PyBytes_FromStringAndSize((char *)data, (Py_ssize_t)len);
        js_free(vm->ctx, data);
    } else {
        raise_js_error(vm);
    }
    if (!leave(vm))
        Py_CLEAR(made);
    return made;
}

/* The exported value of a name; undefined if there is none or it is not initialised. */
static JSValue exported(Vm *vm, long index, PyObject *name, bool *missing)
{
    JSContext *ctx = vm->ctx;
    JSValue space = JS_GetModuleNamespace(ctx, vm->modules[index].u.ptr);
    if (is_exception(space))
        return space;
    JSValue key = text_from_python(vm, name);
    JSAtom atom = is_exception(key) ? 0 : JS_ValueToAtom(ctx, key);
    JS_FreeValue(ctx, key);
    JSValue value = JS_EXCEPTION;
    if (atom) {
        *missing = JS_HasProperty(ctx, space, atom) == 0;
        value = JS_GetProperty(ctx, space, atom);
        JS_FreeAtom(ctx, atom);
        if (is_exception(value) && !vm->pending) {
            drop_exception(ctx);
            value = JS_UNDEFINED;
        }
    }
    JS_FreeValue(ctx, space);
    return value;
}

/* look(module, name) -> None if not exported, -2 if undefined or not initialised, -1 if another
 * value that is no function, else its number of parameters */
static PyObject *look(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    long index;
    if (count != 2 || !PyUnicode_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "look(module: int, name: str)");
        return NULL;
    }
    if (!module_index(vm, args[0], &index) || !enter(vm))
        return NULL;
    bool missing = false;
    PyObject *result = NULL;
    JSValue f = exported(vm, index, args[1], &missing);
    if (is_exception(f)) {
        if (!vm->pending)
            raise_js_error(vm);
    } else if (missing) {
        result = Py_None;
        Py_INCREF(result);
    } else if (!JS_IsFunction(vm->ctx, f)) {
        result = PyLong_FromLong(is_undefined(f) ? -2 : -1);
    } else {
        int64_t length = 0;
        JSValue v = OPEN(vm, JS_GetProperty(vm->ctx, f, vm->atom[ATOM_length]));
        if (is_exception(v) || OPEN(vm, JS_ToInt64(vm->ctx, &length, v)) < 0)
            drop_exception(vm->ctx);
        JS_FreeValue(vm->ctx, v);
        result = PyLong_FromLongLong(length);
    }
    JS_FreeValue(vm->ctx, f);
    if (!leave(vm))
        Py_CLEAR(result);
    return result;
}

/* -- copies ---------------------------------------------------------------------------------------- */

/* Keep the state as it is now, to be put back by restore(). */
static PyObject *vm_save(Vm *vm, PyObject *unused)
{
    (void)unused;
    if (vm->busy || !vm->ctx || vm->refs.next != &vm->refs) {
        PyErr_SetString(PyExc_RuntimeError, "an interpreter is saved between calls only");
        return NULL;
    }
    JS_RunGC(vm->rt);
    char *copy = malloc(vm->region->top);
    if (!copy)
        return PyErr_NoMemory();
    free(vm->saved);
    vm->saved = copy;
    vm->saved_top = vm->region->top;
    vm->saved_modules = vm->module_count;
    region_save(vm->region, copy);
    vm->dirty = false;
    return PyLong_FromSize_t(vm->saved_top);
}

/* What the last request left outside the region. */
static void forget_request(Vm *vm)
{
    kv_forget(vm, false);
    while (vm->refs.next != &vm->refs)
        release_ref(vm->refs.next);
    for (int i = 0; i < 3; i++)
        vm->lazy[i] = JS_UNDEFINED;
    vm->request = NULL;
}

static void put_back(Vm *vm)
{
    vm->impure = vm->trial = false;
    if (!vm->dirty)
        return;
    region_restore(vm->region, vm->saved, vm->saved_top);
    vm->module_count = vm->saved_modules;
    forget_request(vm);
    vm->dirty = vm->spent = false;
}

/* Back to the state of save(); nothing that ran since has left a trace. */
static PyObject *vm_restore(Vm *vm, PyObject *unused)
{
    (void)unused;
    if (vm->busy || !vm->saved) {
        PyErr_SetString(PyExc_RuntimeError, "nothing to restore");
        return NULL;
    }
    put_back(vm);
    Py_RETURN_NONE;
}

/* -- calls ------------------------------------------------------------------------------------------ */

static PyObject *raise_bad_result(Vm *vm, Response *r, bool with_details)
{
    PyObject *cause = Py_None;
    Py_INCREF(cause);
    if (with_details) {
        raise_js_error(vm);
        if (vm->pending) {
            Py_DECREF(cause);
            return NULL;
        }
        PyObject *type, *trace;
        Py_DECREF(cause);
        PyErr_Fetch(&type, &cause, &trace);
        PyErr_NormalizeException(&type, &cause, &trace);
        Py_XDECREF(type);
        Py_XDECREF(trace);
    } else if (JS_HasException(vm->ctx)) {
        drop_exception(vm->ctx);
    }
    PyObject *error = PyObject_CallFunction(class_bad_result, "sOO", r->wrong, r->headers, cause);
    Py_XDECREF(cause);
    if (error) {
        PyErr_SetObject(class_bad_result, error);
        Py_DECREF(error);
    }
    return NULL;
}

/* serve(module, function, context, body, fresh) -> (status, headers, body)
 * or None if the function is not exported, -1 if it is not a function.
 * With `fresh` the saved state is put back first. */
static PyObject *serve(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    long index;
    if (count != 5 || !PyUnicode_Check(args[1]) || !PyBytes_Check(args[3])) {
        PyErr_SetString(PyExc_TypeError, "serve(module, function, context, body, fresh)");
        return NULL;
    }
    if (!module_index(vm, args[0], &index))
        return NULL;
    bool passing = vm->saved != NULL; /* what the script leaves is overwritten, not freed */
    if (args[4] == Py_True) {
        if (vm->busy || !vm->saved) {
            PyErr_SetString(PyExc_RuntimeError, "nothing to restore");
            return NULL;
        }
        put_back(vm);
    }
    if (!enter(vm))
        return NULL;
    Py_INCREF(args[3]);
    Py_XSETREF(vm->body, args[3]);
    JSContext *ctx = vm->ctx;
    PyObject *result = NULL;
    bool missing = false;
    Response r = {NULL, NULL, 0, NULL};
    int mark = vm->held_count;
    JSValue request = JS_UNDEFINED, returned = JS_UNDEFINED;
    JSValue f = exported(vm, index, args[1], &missing);
    if (is_exception(f)) {
        if (!vm->pending)
            raise_js_error(vm);
        goto done;
    }
    if (missing || !JS_IsFunction(ctx, f)) {
        result = missing ? Py_NewRef(Py_None) : PyLong_FromLong(-1);
        goto done;
    }
    vm->context = args[2];
    request = new_request(vm);
    if (is_exception(request)) {
        if (!vm->pending)
            raise_js_error(vm);
        goto done;
    }
    vm->started = clock_ns();
    bound(vm, &vm->inside);
    returned = OPEN(vm, JS_Call(ctx, f, JS_UNDEFINED, 1, &request));
    vm->call_ms = (double)(clock_ns() - vm->started) / 1e6;
    if (vm->pending)
        goto done;
    if (is_exception(returned)) {
        raise_js_error(vm);
        goto done;
    }
    bound_result(vm);
    r = respond(vm, returned);
    if (vm->pending)
        goto done;
    if (vm->timed_out) {
        if (!JS_HasException(ctx))
            JS_ThrowInternalError(ctx, "interrupted");
        raise_js_error(vm);
    } else if (r.wrong) {
        raise_bad_result(vm, &r, r.wrong == bad_json && JS_HasException(ctx));
    } else {
        PyObject *status = PyLong_FromLong(r.status);
        result = status ? PyTuple_Pack(3, status, r.headers, r.body) : NULL;
        Py_XDECREF(status);
    }
done:
    if (!passing) {
        /* What is left to do for the script runs outside of its limits. */
        JS_SetMemoryLimit(vm->rt, 0);
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        PyObject *owned[] = {type, value, trace, result};
        bool held = true;
        for (int i = 0; i < 4; i++)
            held = held && (!owned[i] || hold(vm, owned[i]));
        vm->shut += !held; /* rather wait than lose count of them */
        JS_FreeValue(ctx, returned);
        JS_FreeValue(ctx, f);
        settle_request(vm, is_exception(request) ? JS_UNDEFINED : request);
        kv_forget(vm, true);
        vm->shut -= !held;
        PyErr_Restore(type, value, trace);
    }
    vm->held_count = mark;
    vm->context = NULL;
    Py_CLEAR(vm->body);
    Py_XDECREF(r.body);
    Py_XDECREF(r.headers);
    if (!leave(vm))
        Py_CLEAR(result);
    if (passing) {
        forget_request(vm);
        vm->spent = true;
    }
    return result;
}

/* prepare(body, historical or None): what must be there before module bodies run */
static PyObject *prepare(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "prepare(body: bytes, historical)");
        return NULL;
    }
    Py_INCREF(args[0]);
    Py_XSETREF(vm->body, args[0]);
    if (!vm->kv_per_request && args[1] == Py_None)
        Py_RETURN_NONE;
    if (!enter(vm))
        return NULL;
    bool fine = true;
    if (fresh_globals(vm, args[1]) < 0 && !vm->pending) {
        raise_js_error(vm);
        fine = false;
    }
    if (!leave(vm) || !fine)
        return NULL;
    Py_RETURN_NONE;
}

/* (is_object, truthy, text, members or None); no text is "" */
static PyObject *verdict(Vm *vm, JSValue v, bool with_text, PyObject *members)
{
    PyObject *text = with_text ? python_text(vm, v, true) : PyUnicode_FromString("");
    PyObject *made = NULL;
    if (!text && !vm->pending && !vm->timed_out) {
        /* A symbol, or an object that cannot be made a text of: the original has none for it. */
        drop_exception(vm->ctx);
        text = PyUnicode_FromString("");
    }
    if (text)
        made = Py_BuildValue("(NNNO)", PyBool_FromLong(is_object(v)),
                             PyBool_FromLong(JS_ToBool(vm->ctx, v) == 1), text, members);
    if (!made && PyErr_Occurred())
        stop_script(vm);
    return made;
}

/* What governance looks at: the members that `wanted` names, of whose texts only strings count;
 * the text of the value itself if it names none; neither if it is None. Nothing else is touched:
 * it may be the script's, and do anything. */
static PyObject *describe(Vm *vm, JSValue v, PyObject *wanted)
{
    if (wanted == Py_None || !is_object(v) || !PyTuple_GET_SIZE(wanted))
        return verdict(vm, v, wanted != Py_None && !PyTuple_GET_SIZE(wanted), Py_None);
    PyObject *members = PyDict_New(), *made = NULL;
    int mark = vm->held_count;
    if (!members || !hold(vm, members)) {
        Py_XDECREF(members);
        stop_script(vm);
        return NULL;
    }
    bool fine = true;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(wanted) && fine; i++) {
        PyObject *name = PyTuple_GET_ITEM(wanted, i);
        JSValue member = OPEN(vm, JS_GetPropertyStr(vm->ctx, v, PyUnicode_AsUTF8(name)));
        PyObject *value =
            is_exception(member) ? NULL : verdict(vm, member, is_string(member), Py_None);
        fine = value && PyDict_SetItem(members, name, value) == 0;
        if (!fine && PyErr_Occurred())
            stop_script(vm);
        Py_XDECREF(value);
        JS_FreeValue(vm->ctx, member);
    }
    if (fine)
        made = verdict(vm, v, false, members);
    vm->held_count = mark;
    Py_DECREF(members);
    return made;
}

static bool names_members(PyObject *wanted)
{
    if (wanted == Py_None)
        return true;
    bool fine = PyTuple_Check(wanted);
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(wanted); i++)
        fine = PyUnicode_Check(PyTuple_GET_ITEM(wanted, i)) &&
               PyUnicode_AsUTF8(PyTuple_GET_ITEM(wanted, i));
    return fine;
}

/* call(module, function, arguments, wanted) -> description of the result */
static PyObject *call(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    long index;
    if (count != 4 || !PyUnicode_Check(args[1]) || !PyTuple_Check(args[2]) ||
        PyTuple_GET_SIZE(args[2]) > NATIVE_ARGS_MAX || !names_members(args[3])) {
        PyErr_SetString(PyExc_TypeError,
                        "call(module, function, arguments: tuple, wanted: tuple or None)");
        return NULL;
    }
    if (!module_index(vm, args[0], &index) || !enter(vm))
        return NULL;
    JSContext *ctx = vm->ctx;
    PyObject *result = NULL;
    bool missing = false;
    JSValue argv[NATIVE_ARGS_MAX];
    int argc = 0;
    JSValue returned = JS_EXCEPTION;
    JSValue f = exported(vm, index, args[1], &missing);
    bool ready = !is_exception(f);
    for (; ready && argc < (int)PyTuple_GET_SIZE(args[2]); argc++) {
        argv[argc] = from_python(vm, PyTuple_GET_ITEM(args[2], argc), 0);
        if (is_exception(argv[argc])) {
            ready = false;
            break;
        }
    }
    if (ready) {
        bound(vm, &vm->inside);
        vm->started = clock_ns();
        returned = OPEN(vm, JS_Call(ctx, f, JS_UNDEFINED, argc, argv));
        if (!is_exception(returned)) {
            bound_result(vm);
            result = describe(vm, returned, args[3]);
        }
    }
    if (!result && !vm->pending)
        raise_js_error(vm);
    JS_SetMemoryLimit(vm->rt, 0);
    {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        for (int i = 0; i < argc; i++)
            JS_FreeValue(ctx, argv[i]);
        JS_FreeValue(ctx, returned);
        JS_FreeValue(ctx, f);
        kv_forget(vm, true);
        PyErr_Restore(type, value, trace);
    }
    if (!leave(vm))
        Py_CLEAR(result);
    return result;
}

/* jobs(most) -> number of promise reactions that were run, at most `most`. Only tools ask for this:
 * a service never runs them. */
static PyObject *jobs(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    (void)count;
    long most = PyLong_AsLong(args[0]), ran = 0;
    if ((most == -1 && PyErr_Occurred()) || !enter(vm))
        return NULL;
    bound(vm, &vm->inside);
    int done = 1;
    while (ran < most && !vm->pending && !vm->timed_out) {
        JSContext *ctx = NULL;
        done = OPEN(vm, JS_ExecutePendingJob(vm->rt, &ctx));
        if (done <= 0)
            break;
        ran++;
    }
    bool failed = done < 0 || vm->timed_out;
    if (failed && !vm->pending) {
        if (!JS_HasException(vm->ctx))
            JS_ThrowInternalError(vm->ctx, "interrupted");
        raise_js_error(vm);
    }
    JS_SetMemoryLimit(vm->rt, 0);
    {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        kv_forget(vm, true);
        PyErr_Restore(type, value, trace);
    }
    if (!leave(vm) || failed)
        return NULL;
    return PyLong_FromLong(ran);
}

/* -- watching a trial run ------------------------------------------------------------------------- */

static JSValue js_watched_date(JSContext *ctx, JSValue self, int argc, JSValue *argv, int magic,
                               JSValue *data)
{
    (void)self;
    (void)argc;
    (void)argv;
    (void)magic;
    Vm *vm = vm_of(ctx);
    if (acts_on_world(vm))
        return JS_EXCEPTION;
    return JS_DupValue(ctx, data[0]);
}

/* watch(True): from now on a script that looks at the world or acts on it, `Date` included, is
 * stopped before it does. watch(False): as always; tells whether a script was stopped. */
static PyObject *watch(Vm *vm, PyObject *const *args, Py_ssize_t count)
{
    (void)count;
    PyObject *on = args[0];
    if (!enter(vm))
        return NULL;
    JSContext *ctx = vm->ctx;
    JSValue global = JS_GetGlobalObject(ctx);
    int done = -1;
    if (on == Py_True) {
        vm->impure = false;
        vm->trial = true;
        JSValue date = JS_GetProperty(ctx, global, vm->atom[ATOM_Date]);
        JSValue getter = JS_NewCFunctionData(ctx, js_watched_date, 0, 0, 1, &date);
        done = JS_DefinePropertyGetSet(ctx, global, vm->atom[ATOM_Date], getter, JS_UNDEFINED,
                                       PROP_CONFIGURABLE);
        JS_FreeValue(ctx, date);
    } else {
        bool before = vm->impure;
        vm->trial = false;
        JSPropertyDescriptor d;
        int there = JS_GetOwnProperty(ctx, &d, global, vm->atom[ATOM_Date]);
        if (there > 0) {
            JSValue date = OPEN(vm, JS_Call(ctx, d.getter, global, 0, NULL));
            if (!is_exception(date))
                done = JS_DefinePropertyValue(ctx, global, vm->atom[ATOM_Date], date,
                                              PROP_WRITABLE | PROP_CONFIGURABLE);
            JS_FreeValue(ctx, d.value);
            JS_FreeValue(ctx, d.getter);
            JS_FreeValue(ctx, d.setter);
        }
        vm->impure = before || done < 0;
        if (done < 0 && JS_HasException(ctx))
            drop_exception(ctx);
        done = 0;
    }
    JS_FreeValue(ctx, global);
    if (done < 0)
        raise_js_error(vm);
    bool fine = done >= 0;
    if (!leave(vm) || !fine)
        return NULL;
    return PyBool_FromLong(vm->impure);
}

/* -- work that may be left by force --------------------------------------------------------------- */

typedef PyObject *Work(Vm *, PyObject *const *args, Py_ssize_t count);

/* After the jump: the engine's memory is not touched again before it was put back. */
static PyObject *abandoned(Vm *vm)
{
    atomic_store_explicit(&vm->due, 0, memory_order_relaxed);
    vm->deadline = 0;
    vm->context = NULL;
    vm->call_ms = (double)(clock_ns() - vm->started) / 1e6;
    while (vm->held_count)
        Py_DECREF(vm->held[--vm->held_count]);
    forget_request(vm);
    vm->dirty = vm->spent = true;
    vm->busy = false;
    PyErr_Clear();
    PyObject *error = vm->pending;
    vm->pending = NULL;
    if (!error)
        error = PyObject_CallFunction(class_js_error, "ssOd", "InternalError: interrupted", "",
                                      Py_True, vm->call_ms);
    if (error) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

static __attribute__((noinline)) PyObject *guarded(Vm *vm, Work *work, PyObject *const *args,
                                                   Py_ssize_t count)
{
    if (vm->busy) /* refuses, or works on nothing of the engine */
        return work(vm, args, count);
    if (!watcher.started && !watcher_start())
        return NULL;
    Vm *outer = running; /* a native function of one script may run another script */
    if (sigsetjmp(vm->escape, 0)) {
        running = outer;
        return abandoned(vm);
    }
    vm->started = clock_ns();
    running = vm;
    watcher_begin(vm);
    PyObject *made = work(vm, args, count);
    running = outer;
    atomic_store_explicit(&vm->due, 0, memory_order_release);
    return made;
}

#define GUARDED(name)                                                                              \
    static PyObject *vm_##name(Vm *vm, PyObject *const *args, Py_ssize_t count)                    \
    {                                                                                              \
        return guarded(vm, name, args, count);                                                     \
    }
#define GUARDED_ONE(name)                                                                          \
    static PyObject *vm_##name(Vm *vm, PyObject *arg)                                              \
    {                                                                                              \
        return guarded(vm, name, &arg, 1);                                                         \
    }
GUARDED(compile)
GUARDED_ONE(evaluate)
GUARDED_ONE(bytecode)
GUARDED(look)
GUARDED(prepare)
GUARDED(serve)
GUARDED(call)
GUARDED_ONE(jobs)
GUARDED_ONE(watch)

/* -- making and ending ------------------------------------------------------------------------------ */

/* Names that the original has not, by the object that has them: some make results depend on more than
 * the input, and what a script finds by looking for the others must not depend on who runs it. */
static const struct {
    const char *in; /* a path from the global object */
    const char *names[17];
} removed[] = {
    {"Iterator.prototype",
     {"chunks", "drop", "every", "filter", "find", "flatMap", "forEach", "includes", "join", "map",
      "reduce", "some", "take", "toArray", "windows", "constructor"}},
    {"Function.prototype", {"columnNumber"}},
    {"Array", {"fromAsync"}},
    {"RegExp", {"escape"}},
    {"RegExp.prototype", {"unicodeSets"}},
    {"Promise", {"try"}},
    {"Map.prototype", {"getOrInsert", "getOrInsertComputed"}},
    {"WeakMap.prototype", {"getOrInsert", "getOrInsertComputed"}},
    {"Set.prototype",
     {"difference", "intersection", "isDisjointFrom", "isSubsetOf", "isSupersetOf",
      "symmetricDifference", "union"}},
    {"Error", {"isError"}},
    {"ArrayBuffer.prototype",
     {"detached", "immutable", "maxByteLength", "resizable", "resize", "sliceToImmutable",
      "transfer", "transferToFixedLength", "transferToImmutable"}},
    {"SharedArrayBuffer.prototype", {"grow", "growable", "maxByteLength"}},
    {"DataView.prototype", {"getFloat16", "setFloat16"}},
    {"Uint8Array", {"fromBase64", "fromHex"}},
    {"Uint8Array.prototype", {"setFromBase64", "setFromHex", "toBase64", "toHex"}},
    {"Atomics", {"pause"}},
    {"JSON", {"isRawJSON", "rawJSON"}},
    {"Math", {"f16round", "sumPrecise"}},
    {"",
     {"performance", "queueMicrotask", "atob", "btoa", "DOMException", "WeakRef",
      "FinalizationRegistry", "DisposableStack", "AsyncDisposableStack", "SuppressedError",
      "Iterator", "Float16Array"}},
};

static void delete_name(JSContext *ctx, JSValue object, const char *name)
{
    JSAtom atom = JS_NewAtom(ctx, name);
    JS_DeleteProperty(ctx, object, atom, 0);
    JS_FreeAtom(ctx, atom);
}

static void remove_names(JSContext *ctx, JSValue global)
{
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
        JSValue object = JS_DupValue(ctx, global);
        for (const char *name = removed[i].in; *name;) {
            size_t len = strcspn(name, ".");
            JSAtom atom = JS_NewAtomLen(ctx, name, len);
            JSValue member = JS_GetProperty(ctx, object, atom);
            JS_FreeAtom(ctx, atom);
            JS_FreeValue(ctx, object);
            object = member;
            name += len + (name[len] == '.');
        }
        for (const char *const *name = removed[i].names; *name; name++)
            delete_name(ctx, object, *name);
        JS_FreeValue(ctx, object);
    }
}

/* The global object has no tag of its own in the original. */
static void untag_global(JSContext *ctx, JSValue global)
{
    JSValue symbol = JS_GetPropertyStr(ctx, global, "Symbol");
    JSValue tag = JS_GetPropertyStr(ctx, symbol, "toStringTag");
    JSAtom atom = JS_ValueToAtom(ctx, tag);
    JS_FreeValue(ctx, tag);
    JS_FreeValue(ctx, symbol);
    JS_DeleteProperty(ctx, global, atom, 0);
    JS_FreeAtom(ctx, atom);
}

static int define_accessor(JSContext *ctx, JSValue object, JSAtom atom, JSGetterMagic *get,
                           JSSetterMagic *set, int magic, int flags, JSValue *getter,
                           JSValue *setter)
{
    union {
        JSGetterMagic *get;
        JSSetterMagic *set;
        JSCFunction *plain;
    } g = {.get = get}, s = {.set = set};
    *getter = JS_NewCFunction2(ctx, g.plain, "", 0, CFUNC_GETTER_MAGIC, magic);
    *setter = set ? JS_NewCFunction2(ctx, s.plain, "", 1, CFUNC_SETTER_MAGIC, magic) : JS_UNDEFINED;
    if (is_exception(*getter) || is_exception(*setter))
        return -1;
    if (!is_object(object))
        return 0;
    return JS_DefinePropertyGetSet(ctx, object, atom, JS_DupValue(ctx, *getter),
                                   JS_DupValue(ctx, *setter), flags);
}

static JSValue magic_function(JSContext *ctx, JSCFunctionMagic *f, const char *name, int length,
                              int magic)
{
    union {
        JSCFunctionMagic *magic;
        JSCFunction *plain;
    } cast = {.magic = f};
    return JS_NewCFunction2(ctx, cast.plain, name, length, CFUNC_GENERIC_MAGIC, magic);
}

/* Wakes nobody, for nobody can wait: no thread may block. So the engine's own, which takes a lock of
 * the whole process for that, is only asked to check the arguments. */
static JSValue js_notify(JSContext *ctx, JSValue self, int argc, JSValue *argv)
{
    double count;
    JSValue args[] = {argc > 0 ? argv[0] : JS_UNDEFINED, argc > 1 ? argv[1] : JS_UNDEFINED, js_int(0)};
    JSValue none = JS_Call(ctx, vm_of(ctx)->notify, self, 3, args);
    if (!is_exception(none) && argc > 2 && JS_ToFloat64(ctx, &count, argv[2]) < 0)
        return JS_EXCEPTION;
    return none;
}

static JSValue prototype_of(JSContext *ctx, JSValue global, const char *name)
{
    JSValue constructor = JS_GetPropertyStr(ctx, global, name);
    JSValue proto = JS_GetPropertyStr(ctx, constructor, "prototype");
    JS_FreeValue(ctx, constructor);
    return proto;
}

/* Errors are written down by traces.c; nothing of how shows. */
static int furnish_errors(Vm *vm, JSValue global)
{
    JSContext *ctx = vm->ctx;
    JSValue functions = prototype_of(ctx, global, "Function");
    vm->function_text = JS_GetPropertyStr(ctx, functions, "toString");
    JSPropertyDescriptor own = {.getter = JS_UNDEFINED};
    JS_GetOwnProperty(ctx, &own, functions, vm->atom[ATOM_lineNumber]);
    JS_FreeValue(ctx, own.setter);
    vm->function_line = own.getter;
    JS_FreeValue(ctx, functions);
    for (int i = 0; i < ERROR_CLASSES; i++)
        vm->error_proto[i] = prototype_of(ctx, global, error_names[i]);
    JSValue error = JS_GetPropertyStr(ctx, global, "Error");
    JSValue proto = JS_GetPropertyStr(ctx, error, "prototype");
    JSValue weak_map = JS_GetPropertyStr(ctx, global, "WeakMap");
    JSValue weak_maps = JS_GetPropertyStr(ctx, weak_map, "prototype");
    vm->traces = JS_CallConstructor(ctx, weak_map, 0, NULL);
    vm->traces_get = JS_GetProperty(ctx, weak_maps, vm->atom[ATOM_get]);
    vm->traces_set = JS_GetProperty(ctx, weak_maps, vm->atom[ATOM_set]);
    JS_FreeValue(ctx, weak_maps);
    JS_FreeValue(ctx, weak_map);
    if (!is_object(error) || !is_object(proto) || !is_object(vm->traces) ||
        !is_object(vm->function_line))
        return -1;
    delete_name(ctx, proto, "stack");
    JS_SetPropertyStr(ctx, error, "stackTraceLimit", js_int(TRACE_FRAMES_MAX));
    JS_SetPropertyStr(ctx, error, "prepareStackTrace", JS_NewObjectClass(ctx, vm->trace_class));
    delete_name(ctx, error, "captureStackTrace");
    delete_name(ctx, error, "stackTraceLimit");
    delete_name(ctx, error, "prepareStackTrace");
    JS_FreeValue(ctx, proto);
    JS_FreeValue(ctx, error);
    return 0;
}

static int furnish(Vm *vm)
{
    JSContext *ctx = vm->ctx;
    int done = 0;
    for (int i = 0; i < ATOM_COUNT; i++)
        vm->atom[i] = JS_NewAtom(ctx, atom_names[i]);
    JSValue global = JS_GetGlobalObject(ctx);
    remove_names(ctx, global);
    untag_global(ctx, global);
    JSValue atomics = JS_GetPropertyStr(ctx, global, "Atomics");
    vm->notify = JS_GetPropertyStr(ctx, atomics, "notify");
    if (!is_object(vm->notify) ||
        JS_DefinePropertyValueStr(ctx, atomics, "notify",
                                  JS_NewCFunction2(ctx, js_notify, "notify", 3, CFUNC_GENERIC, 0),
                                  PROP_WRITABLE | PROP_CONFIGURABLE) < 0)
        return -1;
    JS_FreeValue(ctx, atomics);
    if (furnish_errors(vm, global) < 0)
        return -1;
    JS_FreeValue(ctx, global);

    for (int i = 0; i < KV_SIZE; i++)
        vm->kv_method[i] = magic_function(ctx, js_kv_method, kv_ops[i].name, kv_ops[i].argc, i);
    union {
        JSGetterMagic *get;
        JSCFunction *plain;
    } size = {.get = js_kv_size};
    vm->kv_method[KV_SIZE] = JS_NewCFunction2(ctx, size.plain, "size", 0, CFUNC_GETTER_MAGIC, KV_SIZE);
    vm->body_method[BODY_TEXT] = magic_function(ctx, js_body, "text", 0, BODY_TEXT);
    vm->body_method[BODY_JSON] = magic_function(ctx, js_body, "json", 0, BODY_JSON);
    vm->body_method[BODY_BUFFER] = magic_function(ctx, js_body, "arrayBuffer", 0, BODY_BUFFER);
    for (int i = 0; i < 3; i++)
        done |= define_accessor(ctx, JS_UNDEFINED, 0, js_lazy_get, js_lazy_set, i, 0,
                                &vm->lazy_getter[i], &vm->lazy_setter[i]);
    return done < 0 ? -1 : 0;
}

static JSContext *new_context(JSRuntime *rt)
{
    JSContext *ctx = JS_NewContextRaw(rt);
    if (!ctx)
        return NULL;
    if (JS_AddIntrinsicBaseObjects(ctx) || JS_AddIntrinsicDate(ctx) || JS_AddIntrinsicEval(ctx) ||
        JS_AddIntrinsicRegExp(ctx) || JS_AddIntrinsicJSON(ctx) || JS_AddIntrinsicProxy(ctx) ||
        JS_AddIntrinsicMapSet(ctx) || JS_AddIntrinsicTypedArrays(ctx) ||
        JS_AddIntrinsicPromise(ctx)) {
        JS_FreeContext(ctx);
        return NULL;
    }
    return ctx;
}

/* Vm(host, rows, per_request): `rows` as install_row takes them. `per_request` asks for new ccf.kv
 * and ccf.rpc with each request; otherwise they are made once. An empty table of rows makes a bare
 * interpreter without `ccf`. */
static PyObject *vm_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *host, *rows;
    int per_request;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OO!p", &host, &PyTuple_Type, &rows, &per_request))
        return NULL;
    if (!class_js_error) {
        PyErr_SetString(PyExc_RuntimeError, "configure() comes first");
        return NULL;
    }
    Vm *vm = (Vm *)type->tp_alloc(type, 0);
    if (!vm)
        return NULL;
    vm->refs.next = vm->refs.prev = &vm->refs;
    vm->host = Py_NewRef(host);
    vm->rows = Py_NewRef(rows);
    vm->kv_per_request = per_request;
    vm->shut = 1;
    watcher_add(vm);
    for (int i = 0; i < ERROR_CLASSES; i++)
        vm->error_proto[i] = JS_UNDEFINED;
    vm->traces = vm->traces_get = vm->traces_set = JS_UNDEFINED;
    vm->function_text = vm->function_line = vm->rpc_template = vm->notify = JS_UNDEFINED;
    for (int i = 0; i < 3; i++)
        vm->lazy[i] = vm->lazy_getter[i] = vm->lazy_setter[i] = vm->body_method[i] = JS_UNDEFINED;
    for (int i = 0; i < 8; i++)
        vm->kv_method[i] = JS_UNDEFINED;
    vm->inside = vm->outside = (Bounds){(size_t)100 << 20, (size_t)1 << 20, 5000};
    vm->region = region_new();
    vm->rt = vm->region ? JS_NewRuntime2(&region_functions, vm->region) : NULL;
    vm->ctx = vm->rt ? new_context(vm->rt) : NULL;
    if (!vm->ctx) {
        Py_DECREF(vm);
        return PyErr_NoMemory();
    }
    if (!counts_as_expected(vm->ctx)) {
        Py_DECREF(vm);
        PyErr_SetString(PyExc_RuntimeError, "the JavaScript engine is not the expected one");
        return NULL;
    }
    JS_SetContextOpaque(vm->ctx, vm);
    JS_SetInterruptHandler(vm->rt, interrupt, vm);
    JS_SetModuleLoaderFunc(vm->rt, normalize, load_module, vm);
    JSValue plain = JS_NewObject(vm->ctx);
    vm->plain_class = JS_GetClassID(plain);
    JS_FreeValue(vm->ctx, plain);
    JS_NewClassID(vm->rt, &vm->kv_class);
    JS_NewClassID(vm->rt, &vm->trace_class);
    if (JS_NewClass(vm->rt, vm->kv_class, &kv_class_def) < 0 ||
        JS_NewClass(vm->rt, vm->trace_class, &trace_writer_def) < 0 || furnish(vm) < 0) {
        Py_DECREF(vm);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(rows); i++)
        if (install_row(vm, PyTuple_GET_ITEM(rows, i)) < 0) {
            Py_DECREF(vm);
            return NULL;
        }
    if (PyTuple_GET_SIZE(rows)) {
        JSValue ccf = object_at(vm, "ccf");
        vm->rpc_template = JS_GetProperty(vm->ctx, ccf, vm->atom[ATOM_rpc]);
        JS_FreeValue(vm->ctx, ccf);
    }
    return (PyObject *)vm;
}

/* Everything of the script goes with its region; only what it held of Python is released. */
static void vm_end(Vm *vm)
{
    if (vm->region) {
        kv_forget(vm, false);
        while (vm->refs.next != &vm->refs)
            release_ref(vm->refs.next);
        region_delete(vm->region);
        vm->region = NULL;
        vm->rt = NULL;
        vm->ctx = NULL;
    }
    free(vm->saved);
    vm->saved = NULL;
    free(vm->modules);
    vm->modules = NULL;
    vm->module_count = vm->module_room = 0;
}

static int vm_traverse(Vm *vm, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(vm));
    Py_VISIT(vm->host);
    return 0;
}

static int vm_clear(Vm *vm)
{
    Py_CLEAR(vm->host);
    return 0;
}

static void vm_dealloc(Vm *vm)
{
    PyTypeObject *type = Py_TYPE(vm);
    PyObject_GC_UnTrack(vm);
    watcher_remove(vm);
    vm_end(vm);
    free(vm->held);
    for (int i = 0; i < vm->natives; i++)
        Py_CLEAR(vm->native[i].function);
    Py_CLEAR(vm->rows);
    Py_CLEAR(vm->host);
    Py_CLEAR(vm->body);
    Py_CLEAR(vm->pending);
    type->tp_free(vm);
    Py_DECREF(type);
}

static PyObject *vm_close(Vm *vm, PyObject *unused)
{
    (void)unused;
    if (vm->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this interpreter is running");
        return NULL;
    }
    vm_end(vm);
    Py_RETURN_NONE;
}

/* limits(heap, stack, ms, heap outside, stack outside, ms outside) */
static PyObject *vm_limits(Vm *vm, PyObject *args)
{
    unsigned long long heap, stack, heap_out, stack_out;
    long long ms, ms_out;
    if (!PyArg_ParseTuple(args, "KKLKKL", &heap, &stack, &ms, &heap_out, &stack_out, &ms_out))
        return NULL;
    vm->inside = (Bounds){heap, stack, ms};
    vm->outside = (Bounds){heap_out, stack_out, ms_out};
    Py_RETURN_NONE;
}

/* together(ms): all that is done from now on ends after so long; 0: nothing but the limits counts */
static PyObject *vm_together(Vm *vm, PyObject *given)
{
    long long ms = PyLong_AsLongLong(given);
    if (ms == -1 && PyErr_Occurred())
        return NULL;
    vm->until = ms > 0 ? clock_ns() + (uint64_t)ms * 1000000u : 0;
    Py_RETURN_NONE;
}

static PyObject *vm_memory(Vm *vm, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSize_t(vm->region ? vm->region->top : 0);
}

/* tell_lines(): from now on traces tell the line of every frame. For tools, where a person reads. */
static PyObject *vm_tell_lines(Vm *vm, PyObject *unused)
{
    (void)unused;
    vm->tells_lines = true;
    Py_RETURN_NONE;
}

static PyObject *vm_get_ms(Vm *vm, void *closure)
{
    (void)closure;
    return PyFloat_FromDouble(vm->call_ms);
}

static PyObject *vm_get_impure(Vm *vm, void *closure)
{
    (void)closure;
    return PyBool_FromLong(vm->impure);
}

/* Left by force without a saved copy: good for nothing any more. */
static PyObject *vm_get_broken(Vm *vm, void *closure)
{
    (void)closure;
    return PyBool_FromLong(vm->spent && !vm->saved);
}

static PyMethodDef vm_methods[] = {
    {"compile", (PyCFunction)(void (*)(void))vm_compile, METH_FASTCALL, NULL},
    {"evaluate", (PyCFunction)vm_evaluate, METH_O, NULL},
    {"bytecode", (PyCFunction)vm_bytecode, METH_O, NULL},
    {"look", (PyCFunction)(void (*)(void))vm_look, METH_FASTCALL, NULL},
    {"prepare", (PyCFunction)(void (*)(void))vm_prepare, METH_FASTCALL, NULL},
    {"serve", (PyCFunction)(void (*)(void))vm_serve, METH_FASTCALL, NULL},
    {"call", (PyCFunction)(void (*)(void))vm_call, METH_FASTCALL, NULL},
    {"jobs", (PyCFunction)vm_jobs, METH_O, NULL},
    {"save", (PyCFunction)vm_save, METH_NOARGS, NULL},
    {"restore", (PyCFunction)vm_restore, METH_NOARGS, NULL},
    {"watch", (PyCFunction)vm_watch, METH_O, NULL},
    {"limits", (PyCFunction)vm_limits, METH_VARARGS, NULL},
    {"together", (PyCFunction)vm_together, METH_O, NULL},
    {"memory", (PyCFunction)vm_memory, METH_NOARGS, NULL},
    {"tell_lines", (PyCFunction)vm_tell_lines, METH_NOARGS, NULL},
    {"close", (PyCFunction)vm_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef vm_getset[] = {
    {"call_ms", (getter)vm_get_ms, NULL, NULL, NULL},
    {"impure", (getter)vm_get_impure, NULL, NULL, NULL},
    {"broken", (getter)vm_get_broken, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot vm_slots[] = {
    {Py_tp_new, vm_new},         {Py_tp_dealloc, vm_dealloc}, {Py_tp_traverse, vm_traverse},
    {Py_tp_clear, vm_clear},     {Py_tp_methods, vm_methods}, {Py_tp_getset, vm_getset},
    {0, NULL},
};

static PyType_Spec vm_spec = {
    "pyccf.apps.js._native.Vm", sizeof(Vm), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, vm_slots,
};

/* configure(JsError, JsThrow, BadResult, KvSpace, UNDEFINED, NULL, OTHER) */
static PyObject *native_configure(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *o[7];
    if (!PyArg_ParseTuple(args, "OOOOOOO", &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6]))
        return NULL;
    PyObject **targets[] = {&class_js_error, &class_js_throw, &class_bad_result, &class_kv_space,
                            &py_undefined,   &py_null,        &py_other};
    for (int i = 0; i < 7; i++) {
        Py_INCREF(o[i]);
        Py_XSETREF(*targets[i], o[i]);
    }
    static const struct {
        PyObject **target;
        const char *text;
    } names[] = {
        {&str_get, "get"}, {&str_has, "has"}, {&str_set, "set"}, {&str_delete, "delete"},
        {&str_clear, "clear"}, {&str_size, "size"}, {&str_foreach, "foreach"},
        {&str_previous_version, "previous_version"}, {&str_open_map, "open_map"},
        {&str_refusal, "refusal"}, {&str_load_module, "load_module"}, {&str_kind, "kind"},
        {&str_message, "message"}, {&str_headers, "headers"}, {&str_request, "request"},
        {&str_caller_object, "caller_object"},
        {&str_headers_object, "headers_object"}, {&str_host, "host"}, {&str_body, "body"},
        {&str_path, "path"}, {&str_query, "query"}, {&str_method, "method"},
        {&str_route, "route"}, {&str_params, "params"}, {&str_kept, "kept"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!*names[i].target && !(*names[i].target = PyUnicode_InternFromString(names[i].text)))
            return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef native_methods[] = {
    {"configure", native_configure, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT, "pyccf.apps.js._native", NULL, -1, native_methods, NULL, NULL, NULL, NULL,
};

/* The module `_native` with the class Vm: a new reference, or NULL with an exception set. */
static PyObject *make_native(void)
{
    PyObject *module = PyModule_Create(&native_module);
    PyObject *type = module ? PyType_FromSpec(&vm_spec) : NULL;
    if (!type || PyModule_AddObject(module, "Vm", type) < 0) {
        Py_XDECREF(type);
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}

/* Put the module into sys.modules under its full name; 0 when that went well. */
static int pyccf_install_native(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    /* The engine asks the C library what local time is. Scripts must find the same on every node,
     * wherever it stands. */
    setenv("TZ", "UTC0", 1);
    tzset();
    PyObject *module = make_native();
    int done = module ? PyDict_SetItemString(PyImport_GetModuleDict(), native_module.m_name, module)
                      : -1;
    Py_XDECREF(module);
    if (done < 0)
        PyErr_Print();
    PyGILState_Release(state);
    return done;
}
