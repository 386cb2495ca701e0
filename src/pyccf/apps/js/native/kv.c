/* ccf.kv: tables by name, and the handles that read and write them (spec: js-runtime.md 4.3).
 *
 * `ccf.kv` has every name as a property. A handle is a plain object; its methods look at
 * `this._map_name` when called and check the rights of the name really used. The last few names of
 * a request are remembered with their Python handles; others are asked of `host.open_map`. */

static PyObject *kv_space_of(Vm *vm, JSValue kv)
{
    PyRef *ref = JS_GetOpaque(kv, vm->kv_class);
    return ref ? ref->object : Py_None;
}

static void kv_finalizer(JSRuntime *rt, JSValue v);

static JSValue new_kv(Vm *vm, PyObject *space)
{
    JSValue kv = JS_NewObjectClass(vm->ctx, vm->kv_class);
    if (is_exception(kv) || space == Py_None)
        return kv;
    PyRef *ref = malloc(sizeof *ref);
    if (!ref) {
        JS_FreeValue(vm->ctx, kv);
        return JS_ThrowOutOfMemory(vm->ctx);
    }
    Py_INCREF(space);
    ref->object = space;
    ref->prev = &vm->refs;
    ref->next = vm->refs.next;
    ref->next->prev = ref;
    vm->refs.next = ref;
    JS_SetOpaque(kv, ref);
    return kv;
}

static void release_ref(PyRef *ref)
{
    ref->prev->next = ref->next;
    ref->next->prev = ref->prev;
    Py_DECREF(ref->object);
    free(ref);
}

static void kv_finalizer(JSRuntime *rt, JSValue v)
{
    (void)rt;
    JSClassID id;
    PyRef *ref = JS_GetAnyOpaque(v, &id);
    if (ref)
        release_ref(ref);
}

/* What a pending write takes beside its key and value, see kv/tx.py. */
#define ROW_BYTES ((size_t)128)

/* So many more bytes are kept by the transaction, where the engine does not count them: names, keys
 * and values are held to the limit of the heap as well. What was given twice is counted twice until
 * that is too much; then the transactions tell. False with an exception in flight. */
static bool charge(Vm *vm, size_t bytes)
{
    vm->kept += bytes;
    if (!vm->heap_now || vm->kept <= vm->heap_now)
        return true;
    PyObject *spaces = PyList_New(0), *kept = NULL;
    int done = spaces ? 0 : -1;
    for (PyRef *ref = vm->refs.next; ref != &vm->refs && !done; ref = ref->next)
        done = PyList_Append(spaces, ref->object);
    if (!done) {
        PyObject *args[] = {vm->host, spaces};
        kept = PyObject_VectorcallMethod(str_kept, args, 2, NULL);
    }
    Py_XDECREF(spaces);
    vm->kept = kept ? PyLong_AsSize_t(kept) + bytes : 0;
    Py_XDECREF(kept);
    if (!kept || PyErr_Occurred()) {
        python_failed(vm);
        return false;
    }
    if (vm->kept <= vm->heap_now)
        return true;
    JS_ThrowOutOfMemory(vm->ctx);
    return false;
}

/* Handle and rights of a table: (space, name) to slot. NULL with an exception in flight. */
static Slot *kv_open(Vm *vm, PyObject *space, JSValue name, Slot *scratch)
{
    bool current = space == Py_None;
    if (current && name.tag == TAG_STRING)
        for (int i = 0; i < SLOTS; i++)
            if (vm->slot[i].handle && vm->slot[i].name.u.ptr == name.u.ptr)
                return &vm->slot[i];
    PyObject *text = python_text(vm, name, true);
    if (!text)
        return NULL;
    if (!charge(vm, (size_t)PyUnicode_GET_LENGTH(text))) {
        Py_DECREF(text);
        return NULL;
    }
    PyObject *args[] = {vm->host, space, text};
    PyObject *opened = PyObject_VectorcallMethod(str_open_map, args, 3, NULL);
    Py_DECREF(text);
    if (!opened) {
        python_failed(vm);
        return NULL;
    }
    PyObject *handle = PyTuple_GET_ITEM(opened, 0);
    int mask = (int)PyLong_AsLong(PyTuple_GET_ITEM(opened, 1));
    Py_INCREF(handle);
    Py_DECREF(opened);
    Slot *slot = scratch;
    slot->name = JS_UNDEFINED;
    if (current && name.tag == TAG_STRING) {
        slot = &vm->slot[vm->slot_next];
        vm->slot_next = (vm->slot_next + 1) % SLOTS;
        if (slot->handle) {
            JS_FreeValue(vm->ctx, slot->name);
            Py_DECREF(slot->handle);
        }
        slot->name = JS_DupValue(vm->ctx, name);
    }
    slot->handle = handle;
    slot->mask = mask;
    return slot;
}

static void kv_close(Slot *slot, Slot *scratch)
{
    if (slot == scratch)
        Py_DECREF(slot->handle);
}

static void kv_forget(Vm *vm, bool free_names)
{
    for (int i = 0; i < SLOTS; i++) {
        if (!vm->slot[i].handle)
            continue;
        if (free_names)
            JS_FreeValue(vm->ctx, vm->slot[i].name);
        Py_CLEAR(vm->slot[i].handle);
    }
}

typedef enum { KV_HAS, KV_GET, KV_FOREACH, KV_VERSION, KV_SET, KV_DELETE, KV_CLEAR, KV_SIZE } KvOp;

static const struct {
    const char *name;
    int argc, right;
} kv_ops[] = {
    {"has", 1, KV_READ},   {"get", 1, KV_READ},    {"forEach", 1, KV_READ},
    {"getVersionOfPreviousWrite", 1, KV_READ},     {"set", 2, KV_WRITE},
    {"delete", 1, KV_WRITE}, {"clear", 0, KV_WRITE}, {"size", 0, KV_READ},
};

static JSValue kv_refuse(Vm *vm, PyObject *space, JSValue name, KvOp op)
{
    PyObject *text = python_text(vm, name, true);
    if (!text)
        return JS_EXCEPTION;
    PyObject *method = PyUnicode_FromString(kv_ops[op].name);
    PyObject *message = NULL;
    if (method) {
        PyObject *args[] = {vm->host, space, text, method};
        message = PyObject_VectorcallMethod(str_refusal, args, 4, NULL);
    }
    Py_XDECREF(method);
    Py_DECREF(text);
    PyObject *raw = message ? PyUnicode_AsEncodedString(message, "utf-8", "surrogatepass") : NULL;
    Py_XDECREF(message);
    if (!raw)
        return python_failed(vm);
    JSValue e =
        throw_text(vm->ctx, "TypeError", PyBytes_AS_STRING(raw), (size_t)PyBytes_GET_SIZE(raw));
    Py_DECREF(raw);
    return e;
}

static JSValue kv_foreach(Vm *vm, PyObject *handle, JSValue self, JSValue f)
{
    JSContext *ctx = vm->ctx;
    PyObject *rows = PyObject_CallMethodNoArgs(handle, str_foreach);
    if (!rows)
        return python_failed(vm);
    JSValue result = JS_UNDEFINED;
    PyObject *row;
    int mark = vm->held_count;
    if (!hold(vm, rows)) {
        Py_DECREF(rows);
        return stop_script(vm);
    }
    while ((row = PyIter_Next(rows))) {
        JSValue args[3] = {
            from_python(vm, PyTuple_GET_ITEM(row, 1), 0),
            from_python(vm, PyTuple_GET_ITEM(row, 0), 0),
            JS_DupValue(ctx, self),
        };
        Py_DECREF(row);
        JSValue r = is_exception(args[0]) || is_exception(args[1])
                        ? JS_EXCEPTION
                        : OPEN(vm, JS_Call(ctx, f, JS_UNDEFINED, 3, args));
        for (int i = 0; i < 3; i++)
            JS_FreeValue(ctx, args[i]);
        if (is_exception(r)) {
            result = r;
            break;
        }
        JS_FreeValue(ctx, r);
    }
    if (PyErr_Occurred())
        result = python_failed(vm);
    vm->held_count = mark;
    Py_DECREF(rows);
    return result;
}

static JSValue kv_call(Vm *vm, PyObject *space, JSValue self, int argc, JSValue *argv, KvOp op)
{
    JSContext *ctx = vm->ctx;
    if (acts_on_world(vm) || too_late(vm))
        return JS_EXCEPTION;
    if (op != KV_SIZE && argc != kv_ops[op].argc)
        return JS_ThrowTypeError(ctx, "Passed %d arguments, but expected %d", argc,
                                 kv_ops[op].argc);
    if (!is_object(self))
        return JS_ThrowInternalError(ctx, "Internal: Unable to access MapHandle");
    JSValue name = OPEN(vm, JS_GetProperty(ctx, self, vm->atom[ATOM_map_name]));
    if (is_exception(name))
        return name;
    Slot scratch, *slot = kv_open(vm, space, name, &scratch);
    if (!slot) {
        JS_FreeValue(ctx, name);
        return JS_EXCEPTION;
    }
    JSValue result = JS_UNDEFINED;
    PyObject *key = NULL, *value = NULL, *got = NULL;
    PyObject *handle = slot->handle;
    Py_INCREF(handle);
    int mask = slot->mask;
    kv_close(slot, &scratch);
    int mark = vm->held_count;
    if (!hold(vm, handle)) {
        result = stop_script(vm);
        goto done;
    }
    if (!(mask & kv_ops[op].right)) {
        result = kv_refuse(vm, space, name, op);
        goto done;
    }
    if (op == KV_FOREACH) {
        if (!JS_IsFunction(ctx, argv[0]))
            result = JS_ThrowTypeError(ctx, "Argument must be a function");
        else
            result = kv_foreach(vm, handle, self, argv[0]);
        goto done;
    }
    if (op != KV_CLEAR && op != KV_SIZE) {
        const char *what = op == KV_SET ? "Arguments must be ArrayBuffers"
                                        : "Argument must be an ArrayBuffer";
        key = python_buffer(vm, argv[0], what);
        if (key && op == KV_SET)
            value = python_buffer(vm, argv[1], what);
        if (!key || (op == KV_SET && !value) ||
            !charge(vm, (size_t)PyBytes_GET_SIZE(key) +
                            (value ? (size_t)PyBytes_GET_SIZE(value) : 0) +
                            (kv_ops[op].right == KV_WRITE ? ROW_BYTES : 0))) {
            result = JS_EXCEPTION;
            goto done;
        }
    }
    PyObject *args[] = {handle, key, value};
    switch (op) {
    case KV_HAS: got = PyObject_VectorcallMethod(str_has, args, 2, NULL); break;
    case KV_GET: got = PyObject_VectorcallMethod(str_get, args, 2, NULL); break;
    case KV_VERSION: got = PyObject_VectorcallMethod(str_previous_version, args, 2, NULL); break;
    case KV_SET: got = PyObject_VectorcallMethod(str_set, args, 3, NULL); break;
    case KV_DELETE: got = PyObject_VectorcallMethod(str_delete, args, 2, NULL); break;
    case KV_CLEAR: got = PyObject_CallMethodNoArgs(handle, str_clear); break;
    default: got = PyObject_CallMethodNoArgs(handle, str_size); break;
    }
    if (!got)
        result = python_failed(vm);
    else if (op == KV_SET)
        result = JS_DupValue(ctx, self);
    else if (got != Py_None)
        result = from_python(vm, got, 0);
done:
    vm->held_count = mark;
    Py_XDECREF(got);
    Py_XDECREF(key);
    Py_XDECREF(value);
    Py_DECREF(handle);
    JS_FreeValue(ctx, name);
    return result;
}

static JSValue js_kv_method(JSContext *ctx, JSValue self, int argc, JSValue *argv, int magic)
{
    Vm *vm = vm_of(ctx);
    return SHUT(vm, kv_call(vm, Py_None, self, argc, argv, (KvOp)magic));
}

static JSValue js_kv_size(JSContext *ctx, JSValue self, int magic)
{
    Vm *vm = vm_of(ctx);
    return SHUT(vm, kv_call(vm, Py_None, self, 0, NULL, (KvOp)magic));
}

/* Methods of a historical state's handles carry that state's `kv` object. */
static JSValue js_kv_bound(JSContext *ctx, JSValue self, int argc, JSValue *argv, int magic,
                           JSValue *data)
{
    Vm *vm = vm_of(ctx);
    return SHUT(vm, kv_call(vm, kv_space_of(vm, data[0]), self, argc, argv, (KvOp)magic));
}

/* A new handle of the table `name` (a text) of the tables `kv`. */
static JSValue kv_handle(Vm *vm, JSValue kv, JSValue name)
{
    static const AtomIndex order[] = {
        ATOM_map_name, ATOM_has, ATOM_get, ATOM_forEach, ATOM_getVersionOfPreviousWrite,
        ATOM_set, ATOM_delete, ATOM_clear,
    };
    JSContext *ctx = vm->ctx;
    PyObject *space = kv_space_of(vm, kv);
    if (acts_on_world(vm))
        return JS_EXCEPTION;
    Slot scratch, *slot = kv_open(vm, space, name, &scratch);
    if (!slot)
        return JS_EXCEPTION;
    kv_close(slot, &scratch);
    JSAtom atoms[8];
    JSValue values[8];
    JSValue size;
    for (int i = 0; i < 8; i++)
        atoms[i] = vm->atom[order[i]];
    values[0] = JS_DupValue(ctx, name);
    if (space == Py_None) {
        for (int i = 0; i < 7; i++)
            values[i + 1] = JS_DupValue(ctx, vm->kv_method[i]);
        size = JS_DupValue(ctx, vm->kv_method[KV_SIZE]);
    } else {
        for (int i = 0; i < 7; i++)
            values[i + 1] = JS_NewCFunctionData(ctx, js_kv_bound, kv_ops[i].argc, i, 1, &kv);
        size = JS_NewCFunctionData(ctx, js_kv_bound, 0, KV_SIZE, 1, &kv);
        for (int i = 0; i < 7; i++)
            if (is_object(values[i + 1]))
                JS_DefinePropertyValueStr(
                    ctx, values[i + 1], "name",
                    JS_NewStringLen(ctx, kv_ops[i].name, strlen(kv_ops[i].name)), PROP_CONFIGURABLE);
    }
    bool failed = is_exception(size);
    for (int i = 0; i < 8; i++)
        failed |= is_exception(values[i]);
    if (failed) {
        for (int i = 0; i < 8; i++)
            JS_FreeValue(ctx, values[i]);
        JS_FreeValue(ctx, size);
        return JS_EXCEPTION;
    }
    JSValue handle = object_from(ctx, JS_NewObjectProto(ctx, JS_NULL), 8, atoms, values);
    if (is_exception(handle)) {
        JS_FreeValue(ctx, size);
        return handle;
    }
    if (JS_DefinePropertyGetSet(ctx, handle, vm->atom[ATOM_size], size, JS_UNDEFINED, 0) < 0) {
        JS_FreeValue(ctx, handle);
        return JS_EXCEPTION;
    }
    return handle;
}

/* Every name is there, read-only; a symbol stands for its description. */
static int kv_get_own(JSContext *ctx, JSPropertyDescriptor *desc, JSValue kv, JSAtom prop)
{
    if (!desc)
        return 1;
    Vm *vm = vm_of(ctx);
    JSValue name = JS_AtomToString(ctx, prop);
    size_t len;
    const char *text = is_exception(name) ? NULL : JS_ToCStringLen2(ctx, &len, name, false);
    if (!text) {
        JS_FreeValue(ctx, name);
        return -1;
    }
    size_t cut = strnlen(text, len);
    if (cut < len) {
        JS_FreeValue(ctx, name);
        name = text_from_utf8(ctx, text, cut);
    }
    JS_FreeCString(ctx, text);
    if (is_exception(name))
        return -1;
    JSValue handle = SHUT(vm, kv_handle(vm, kv, name));
    JS_FreeValue(ctx, name);
    if (is_exception(handle))
        return -1;
    desc->flags = 0;
    desc->value = handle;
    desc->getter = JS_UNDEFINED;
    desc->setter = JS_UNDEFINED;
    return 1;
}

static JSClassExoticMethods kv_exotic = {.get_own_property = kv_get_own};

static const JSClassDef kv_class_def = {"Object", kv_finalizer, NULL, NULL, &kv_exotic};
