/* Stack traces in the form of the original's engine: no columns, and no line for a function that
 * stands on one line.
 *
 * The engine writes neither the one nor the other down for scripts, so it is given a function that
 * writes its traces: with line and column of each frame, and a mark after those of functions on one
 * line. `js_get_stack` shows it to scripts without columns, marks and the lines that the original
 * does not know; Python is given the whole of it, to find the place in a source map. */

#define ONE_LINE '\x02'
#define FUNCTION_BYTES 65536 /* a longer function is not looked through: it has several lines */

/* Text that grows within the engine's memory; what does not fit any more is left out. */
typedef struct {
    char *data;
    size_t length, room;
} Trace;

static void add_text(JSContext *ctx, Trace *t, const char *text, size_t len)
{
    if (t->length + len > t->room) {
        size_t room = (t->length + len) * 2;
        char *more = js_malloc(ctx, room);
        if (!more) {
            drop_exception(ctx);
            return;
        }
        if (t->data)
            memcpy(more, t->data, t->length);
        js_free(ctx, t->data);
        t->data = more;
        t->room = room;
    }
    memcpy(t->data + t->length, text, len);
    t->length += len;
}

static JSValue asked(JSContext *ctx, JSValue site, const char *getter)
{
    JSValue f = JS_GetPropertyStr(ctx, site, getter);
    JSValue found = is_exception(f) ? JS_EXCEPTION : JS_Call(ctx, f, site, 0, NULL);
    JS_FreeValue(ctx, f);
    if (!is_exception(found))
        return found;
    drop_exception(ctx);
    return JS_UNDEFINED;
}

static bool add_asked(JSContext *ctx, Trace *t, JSValue site, const char *getter)
{
    JSValue value = asked(ctx, site, getter);
    size_t len = 0;
    const char *text = value.tag == TAG_INT || is_string(value)
                           ? JS_ToCStringLen2(ctx, &len, value, false)
                           : NULL;
    if (text) {
        add_text(ctx, t, text, len);
        JS_FreeCString(ctx, text);
    }
    JS_FreeValue(ctx, value);
    return len > 0;
}

/* Whether a function stands on one line, by its text. */
static bool on_one_line(JSContext *ctx, JSValue function)
{
    JSValue source = JS_Call(ctx, vm_of(ctx)->function_text, function, 0, NULL);
    size_t len;
    const char *text = is_string(source) ? JS_ToCStringLen2(ctx, &len, source, false) : NULL;
    bool one = text && len < FUNCTION_BYTES && !memchr(text, '\n', len);
    if (text)
        JS_FreeCString(ctx, text);
    if (is_exception(source))
        drop_exception(ctx);
    JS_FreeValue(ctx, source);
    return one;
}

static void add_frame(JSContext *ctx, Trace *t, JSValue site)
{
    JSValue function = asked(ctx, site, "getFunction"), native = asked(ctx, site, "isNative");
    bool named = is_object(function);
    add_text(ctx, t, "    at ", 7);
    if (named) {
        if (!add_asked(ctx, t, site, "getFunctionName"))
            add_text(ctx, t, "<anonymous>", 11);
        add_text(ctx, t, " (", 2);
    }
    if (JS_ToBool(ctx, native) == 1) {
        add_text(ctx, t, "native", 6);
    } else {
        if (!add_asked(ctx, t, site, "getFileName"))
            add_text(ctx, t, "<null>", 6);
        add_text(ctx, t, ":", 1);
        add_asked(ctx, t, site, "getLineNumber");
        add_text(ctx, t, ":", 1);
        add_asked(ctx, t, site, "getColumnNumber");
    }
    if (named)
        add_text(ctx, t, ")", 1);
    if (named && !vm_of(ctx)->tells_lines && on_one_line(ctx, function))
        add_text(ctx, t, (char[]){ONE_LINE}, 1);
    add_text(ctx, t, "\n", 1);
    JS_FreeValue(ctx, function);
    JS_FreeValue(ctx, native);
}

/* Called by the engine with an error and the frames it was made in. It belongs to a class of its own
 * because the engine calls no function when the stack is used up, but any other object; a little of
 * the thread's own stack is left then. */
static JSValue write_trace(JSContext *ctx, JSValue f, JSValue self, int argc, JSValue *argv, int flags)
{
    (void)f, (void)self, (void)flags;
    Vm *vm = vm_of(ctx);
    Trace trace = {0};
    JS_SetMaxStackSize(vm->rt, 0);
    for (uint32_t i = 0; argc > 1 && i <= TRACE_FRAMES_MAX; i++) {
        JSValue site = JS_GetPropertyUint32(ctx, argv[1], i);
        if (is_exception(site))
            drop_exception(ctx);
        if (!is_object(site))
            break;
        add_frame(ctx, &trace, site);
        JS_FreeValue(ctx, site);
    }
    JS_SetMaxStackSize(vm->rt, vm->stack_now);
    JSValue made = text_from_utf8(ctx, trace.data, trace.length);
    js_free(ctx, trace.data);
    return made;
}

static const JSClassDef trace_writer_def = {"Function", NULL, NULL, write_trace, NULL};

/* Where ":line:column", or ":column" alone, begins at the end of a line; NULL if it does not. */
static const char *before_number(const char *start, const char *end)
{
    const char *q = end;
    while (q > start && q[-1] >= '0' && q[-1] <= '9')
        q--;
    return q < end && q > start && q[-1] == ':' ? q - 1 : NULL;
}

/* A trace as scripts and clients see it. */
static JSValue js_get_stack(JSContext *ctx, JSValue self, int magic)
{
    (void)magic;
    JSValue stack = JS_Call(ctx, vm_of(ctx)->stack_getter, self, 0, NULL);
    size_t len;
    const char *text = is_string(stack) ? JS_ToCStringLen2(ctx, &len, stack, false) : NULL;
    if (!text)
        return stack;
    char *out = js_malloc(ctx, len + 1);
    JSValue made = JS_EXCEPTION;
    if (out) {
        size_t n = 0;
        const char *p = text, *end = text + len;
        while (p < end) {
            const char *eol = memchr(p, '\n', (size_t)(end - p));
            const char *stop = eol ? eol : end;
            bool marked = stop > p && stop[-1] == ONE_LINE;
            stop -= marked;
            bool bracket = stop > p && stop[-1] == ')';
            const char *column = before_number(p, bracket ? stop - 1 : stop);
            const char *line = column ? before_number(p, column) : NULL;
            const char *cut = line ? (marked ? line : column) : stop;
            memcpy(out + n, p, (size_t)(cut - p));
            n += (size_t)(cut - p);
            if (line && bracket)
                out[n++] = ')';
            if (eol)
                out[n++] = '\n';
            p = eol ? eol + 1 : end;
        }
        made = text_from_utf8(ctx, out, n);
        js_free(ctx, out);
    }
    JS_FreeCString(ctx, text);
    JS_FreeValue(ctx, stack);
    return made;
}

static JSValue js_set_stack(JSContext *ctx, JSValue self, JSValue value, int magic)
{
    (void)magic;
    if (!is_object(self))
        return JS_ThrowTypeError(ctx, "not an object");
    if (JS_DefinePropertyValue(ctx, self, vm_of(ctx)->atom[ATOM_stack], JS_DupValue(ctx, value),
                               PROP_WRITABLE | PROP_CONFIGURABLE) < 0)
        return JS_EXCEPTION;
    return JS_UNDEFINED;
}
