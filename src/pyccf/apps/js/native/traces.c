/* Errors in the form of the original's engine.
 *
 * The engine is given something to call for each error that is made. It words the error as the
 * original does, gives it `stack` (no columns, and no line for a function that stands on one line),
 * `fileName` and `lineNumber` of an error of syntax. What the engine keeps beside that, for Python to
 * find the place in a source map, has line and column of each frame, and a mark after those of
 * functions on one line. */

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

static bool add_value(JSContext *ctx, Trace *t, JSValue value)
{
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

static bool add_asked(JSContext *ctx, Trace *t, JSValue site, const char *getter)
{
    return add_value(ctx, t, asked(ctx, site, getter));
}

/* Whether a function has a name of its own that is text. Asking for the text of a function that came
 * without source looks its name up, which is the script's to answer where there is no such name. */
static bool has_plain_name(JSContext *ctx, JSValue function)
{
    JSPropertyDescriptor own;
    if (JS_GetOwnProperty(ctx, &own, function, vm_of(ctx)->atom[ATOM_name]) <= 0)
        return false;
    bool plain = is_string(own.value);
    JS_FreeValue(ctx, own.value);
    JS_FreeValue(ctx, own.getter);
    JS_FreeValue(ctx, own.setter);
    return plain;
}

/* Whether a function of a script, which is at `line`, stands on one line. If that is not the line it
 * begins on, it does not; else its text tells, which may be long. That is not asked where the script
 * took its name away: then the line is told. */
static bool on_one_line(JSContext *ctx, JSValue function, JSValue line)
{
    Vm *vm = vm_of(ctx);
    JSValue first = JS_Call(ctx, vm->function_line, function, 0, NULL);
    bool later = first.tag == TAG_INT && line.tag == TAG_INT && first.u.int32 != line.u.int32;
    JS_FreeValue(ctx, first);
    if (later || !has_plain_name(ctx, function))
        return false;
    JSValue source = OPEN(vm, JS_Call(ctx, vm->function_text, function, 0, NULL));
    size_t len;
    const char *text =
        is_string(source) ? OPEN(vm, JS_ToCStringLen2(ctx, &len, source, false)) : NULL;
    bool one = text && len < FUNCTION_BYTES && !memchr(text, '\n', len);
    if (text)
        JS_FreeCString(ctx, text);
    if (is_exception(source))
        drop_exception(ctx);
    JS_FreeValue(ctx, source);
    return one;
}

/* False for a place that is no frame of a call: where an error of syntax is. */
static bool add_frame(JSContext *ctx, Trace *t, JSValue site)
{
    JSValue function = asked(ctx, site, "getFunction"), native = asked(ctx, site, "isNative");
    JSValue line = asked(ctx, site, "getLineNumber"); /* a number, or nothing */
    bool named = is_object(function);
    add_text(ctx, t, "    at ", 7);
    if (named) {
        if (!add_asked(ctx, t, site, "getFunctionName"))
            add_text(ctx, t, "<anonymous>", 11);
        add_text(ctx, t, " (", 2);
    }
    bool scripted = JS_ToBool(ctx, native) != 1;
    if (!scripted) {
        add_text(ctx, t, "native", 6);
    } else {
        if (!add_asked(ctx, t, site, "getFileName"))
            add_text(ctx, t, "<null>", 6);
        add_text(ctx, t, ":", 1);
        add_value(ctx, t, line);
        add_text(ctx, t, ":", 1);
        add_asked(ctx, t, site, "getColumnNumber");
    }
    if (named)
        add_text(ctx, t, ")", 1);
    if (named && scripted && !vm_of(ctx)->tells_lines && on_one_line(ctx, function, line))
        add_text(ctx, t, (char[]){ONE_LINE}, 1);
    add_text(ctx, t, "\n", 1);
    JS_FreeValue(ctx, function);
    JS_FreeValue(ctx, native);
    return named;
}

/* Where ":line:column", or ":column" alone, begins at the end of a line; NULL if it does not. */
static const char *before_number(const char *start, const char *end)
{
    const char *q = end;
    while (q > start && q[-1] >= '0' && q[-1] <= '9')
        q--;
    return q < end && q > start && q[-1] == ':' ? q - 1 : NULL;
}

/* The trace as scripts and clients see it. */
static JSValue shown_trace(JSContext *ctx, const Trace *t)
{
    char *out = js_malloc(ctx, t->length + 1);
    if (!out)
        return JS_EXCEPTION;
    size_t n = 0;
    const char *p = t->data, *end = t->data + t->length;
    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const char *stop = eol ? eol : end; /* memory may have run out within a line */
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
    JSValue made = text_from_utf8(ctx, out, n);
    js_free(ctx, out);
    return made;
}

/* -- wording ----------------------------------------------------------------------------------- */

/* Messages the original engine words differently, by the class of the error. A bar ends a beginning
 * that is compared; otherwise the whole text must be equal. */
static const struct {
    ErrorClass of;
    const char *from, *to;
    bool internal; /* and the error is an InternalError there */
} wording[] = {
    {SYNTAX_ERROR, "Unexpected end of JSON input", "unexpected end of input", false},
    {SYNTAX_ERROR, "Expected property name|", "expecting property name", false},
    {SYNTAX_ERROR, "Expected ':' after|", "expecting ':'", false},
    {SYNTAX_ERROR, "Expected ',' or '}'|", "expecting '}'", false},
    {SYNTAX_ERROR, "Expected ',' or ']'|", "expecting ']'", false},
    {SYNTAX_ERROR, "Bad control character|", "invalid character in a JSON string", false},
    {SYNTAX_ERROR, "Bad escaped character|", "malformed escape sequence in string literal", false},
    {SYNTAX_ERROR, "Bad Unicode escape|", "malformed escape sequence in string literal", false},
    {SYNTAX_ERROR, "Bad UTF-8 sequence|", "invalid UTF-8 sequence", false},
    {SYNTAX_ERROR, "No number after minus sign|", "unexpected token: '-'", false},
    {SYNTAX_ERROR, "Unexpected number|", "unexpected token: '0'", false},
    {SYNTAX_ERROR, "Unexpected token '\\u|", "unexpected character", false},
    {SYNTAX_ERROR, "Unexpected token '\\x|", "unexpected character", false},
    {SYNTAX_ERROR, "Octal literals are not allowed in strict mode",
     "octal literals are deprecated in strict mode", false},
    {SYNTAX_ERROR, "invalid BigInt literal", "invalid bigint literal", false},
    {TYPE_ERROR, "BigInt are forbidden in JSON.stringify", "bigint are forbidden in JSON.stringify",
     false},
    {TYPE_ERROR, "cannot convert BigInt to number", "cannot convert bigint to number", false},
    {TYPE_ERROR, "invalid value used as WeakMap key", "not an object", false},
    {RANGE_ERROR, "BigInt division by zero", "invalid operation", false},
    {RANGE_ERROR, "BigInt negative exponent", "invalid operation", false},
    {RANGE_ERROR, "cannot convert to BigInt: not an integer",
     "cannot convert to bigint: not an integer", false},
    {RANGE_ERROR, "toString() radix argument must be between 2 and 36",
     "radix must be between 2 and 36", false},
    {RANGE_ERROR, "Maximum call stack size exceeded", "stack overflow", true},
    {RANGE_ERROR, "invalid string length", "string too long", true},
};

/* Which of the engine's own classes an error is of; ERROR_CLASSES if of none. */
static ErrorClass class_of(JSContext *ctx, JSValue e)
{
    JSValue proto = JS_GetPrototype(ctx, e);
    int i = 0;
    while (i < ERROR_CLASSES && vm_of(ctx)->error_proto[i].u.ptr != proto.u.ptr)
        i++;
    JS_FreeValue(ctx, proto);
    return (ErrorClass)i;
}

static void set_message(JSContext *ctx, JSValue e, const char *text, size_t len)
{
    JSValue made = JS_NewStringLen(ctx, text, len);
    if (is_exception(made) ||
        JS_DefinePropertyValue(ctx, e, vm_of(ctx)->atom[ATOM_message], made,
                               PROP_WRITABLE | PROP_CONFIGURABLE) < 0)
        drop_exception(ctx);
}

/* "x is not defined", with the name in quotes. */
static void quote_name(JSContext *ctx, JSValue e, const char *text, size_t len)
{
    static const char end[] = " is not defined";
    size_t tail = sizeof end - 1, name = len > tail ? len - tail : 0;
    if (!name || strcmp(text + name, end) || text[0] == '\'' || memchr(text, ' ', name))
        return;
    char *quoted = js_malloc(ctx, len + 2);
    if (!quoted) {
        drop_exception(ctx);
        return;
    }
    quoted[0] = quoted[name + 1] = '\'';
    memcpy(quoted + 1, text, name);
    memcpy(quoted + name + 2, end, tail);
    set_message(ctx, e, quoted, len + 2);
    js_free(ctx, quoted);
}

/* Word an error of the engine as the original does. One that a script makes in the very words of the
 * engine is taken for the engine's. */
static void reword(JSContext *ctx, JSValue e)
{
    Vm *vm = vm_of(ctx);
    ErrorClass of = class_of(ctx, e);
    JSPropertyDescriptor own;
    if (of == ERROR_CLASSES || JS_GetOwnProperty(ctx, &own, e, vm->atom[ATOM_message]) <= 0)
        return;
    size_t len;
    const char *text = is_string(own.value) ? JS_ToCStringLen2(ctx, &len, own.value, false) : NULL;
    if (text && of == REFERENCE_ERROR)
        quote_name(ctx, e, text, len);
    for (size_t i = 0; text && i < sizeof wording / sizeof *wording; i++) {
        const char *from = wording[i].from;
        size_t wanted = strlen(from);
        bool begins = from[wanted - 1] == '|';
        if (wording[i].of != of ||
            (begins ? strncmp(text, from, wanted - 1) : strcmp(text, from)) != 0)
            continue;
        set_message(ctx, e, wording[i].to, strlen(wording[i].to));
        if (wording[i].internal &&
            JS_SetPrototype(ctx, e, vm->error_proto[INTERNAL_ERROR]) < 0)
            drop_exception(ctx);
        break;
    }
    if (text)
        JS_FreeCString(ctx, text);
    JS_FreeValue(ctx, own.value);
    JS_FreeValue(ctx, own.getter);
    JS_FreeValue(ctx, own.setter);
}

/* Where an error of syntax is, as members of the error. */
static void place_syntax_error(JSContext *ctx, JSValue e, JSValue site)
{
    JSValue file = asked(ctx, site, "getFileName"), line = asked(ctx, site, "getLineNumber");
    int flags = PROP_WRITABLE | PROP_CONFIGURABLE;
    if (JS_DefinePropertyValueStr(ctx, e, "fileName", file, flags) < 0)
        drop_exception(ctx);
    if (JS_DefinePropertyValueStr(ctx, e, "lineNumber", line, flags) < 0)
        drop_exception(ctx);
}

/* -- the engine's call ------------------------------------------------------------------------- */

/* What the engine is to keep as the trace of an error that was made in these frames. There is no
 * limit of the stack meanwhile, so nothing may be asked that a script could answer. */
static JSValue written(Vm *vm, int argc, JSValue *argv)
{
    JSContext *ctx = vm->ctx;
    Trace trace = {0};
    JS_SetMaxStackSize(vm->rt, 0);
    JSValue e = argc > 0 ? argv[0] : JS_UNDEFINED;
    bool fresh = is_object(e) && JS_IsError(e) &&
                 JS_GetOwnProperty(ctx, NULL, e, vm->atom[ATOM_stack]) == 0;
    if (fresh)
        reword(ctx, e);
    /* No further than the list goes: what scripts put into Array.prototype must not be run. */
    JSPropertyDescriptor length = {.value = JS_UNDEFINED};
    if (argc < 2 || JS_GetOwnProperty(ctx, &length, argv[1], vm->atom[ATOM_length]) <= 0)
        length.value = js_int(0);
    for (int i = 0; i < length.value.u.int32; i++) {
        JSValue site = JS_GetPropertyUint32(ctx, argv[1], (uint32_t)i);
        if (!add_frame(ctx, &trace, site) && i == 0 && fresh)
            place_syntax_error(ctx, e, site);
        JS_FreeValue(ctx, site);
    }
    JSValue shown = fresh ? shown_trace(ctx, &trace) : JS_UNDEFINED;
    if (fresh && !is_exception(shown)) {
        JSValue kept[] = {e, text_from_utf8(ctx, trace.data, trace.length)};
        JS_FreeValue(ctx, JS_Call(ctx, vm->traces_set, vm->traces, 2, kept));
        JS_FreeValue(ctx, kept[1]);
        JS_DefinePropertyValue(ctx, e, vm->atom[ATOM_stack], JS_DupValue(ctx, shown),
                               PROP_WRITABLE | PROP_CONFIGURABLE);
    }
    if (JS_HasException(ctx))
        drop_exception(ctx); /* no memory is left: the error goes without */
    js_free(ctx, trace.data);
    JS_SetMaxStackSize(vm->rt, vm->stack_now);
    return is_exception(shown) ? JS_UNDEFINED : shown;
}

/* Called by the engine for each error. It belongs to a class of its own because the engine calls no
 * function when the stack is used up, but any other object; a little of the thread's own stack is
 * left then. */
static JSValue write_trace(JSContext *ctx, JSValue f, JSValue self, int argc, JSValue *argv, int flags)
{
    (void)f, (void)self, (void)flags;
    Vm *vm = vm_of(ctx);
    return SHUT(vm, written(vm, argc, argv));
}

/* The trace of an error with columns and marks; undefined if the engine wrote none. */
static JSValue exact_trace(Vm *vm, JSValue e)
{
    return JS_Call(vm->ctx, vm->traces_get, vm->traces, 1, &e);
}

static const JSClassDef trace_writer_def = {"Function", NULL, NULL, write_trace, NULL};

