/* Vm: one interpreter (runtime, context, memory region) as a Python object, and what all files of
 * this extension share. One thread at a time, never re-entered; the interpreter lock is held
 * throughout, so a call costs no hand-over to other threads. */

enum { NATIVE_ARGS_MAX = 8, NATIVES_MAX = 128, SLOTS = 8 };
enum { TRACE_FRAMES_MAX = 64 };

/* Classes of errors that the engine makes. */
typedef enum {
    SYNTAX_ERROR, TYPE_ERROR, RANGE_ERROR, REFERENCE_ERROR, INTERNAL_ERROR, ERROR_CLASSES
} ErrorClass;

static const char *const error_names[ERROR_CLASSES] = {
    "SyntaxError", "TypeError", "RangeError", "ReferenceError", "InternalError",
};

enum { KV_READ = 1, KV_WRITE = 2 };
enum { STYLE_COMMA, STYLE_PLAIN, STYLE_ANY };

/* A Python object kept alive by a JavaScript object. Listed outside the region, so that putting an
 * old copy of the region back can release what was made since. */
typedef struct PyRef {
    PyObject *object;
    struct PyRef *prev, *next;
} PyRef;

typedef struct {
    PyObject *function;
    PyObject *name;
    const char *spec;  /* one letter per argument, borrowed from a Python text kept in `rows` */
    const char *usual; /* "1", "none", "1 or 2" ... for the message about the argument count */
    int min, max, style;
    bool pure;
} Native;

/* A table name seen in this request and its handle. */
typedef struct {
    JSValue name;
    PyObject *handle;
    int mask;
} Slot;

typedef struct {
    size_t heap, stack; /* bytes; 0: no limit */
    int64_t time_ms;    /* 0: no limit */
} Bounds;

typedef enum {
    ATOM_ccf, ATOM_kv, ATOM_rpc, ATOM_historicalState, ATOM_body, ATOM_headers, ATOM_statusCode,
    ATOM_query, ATOM_path, ATOM_method, ATOM_hostname, ATOM_route, ATOM_url, ATOM_params,
    ATOM_caller, ATOM_text, ATOM_json, ATOM_arrayBuffer, ATOM_map_name, ATOM_has, ATOM_get,
    ATOM_forEach, ATOM_getVersionOfPreviousWrite, ATOM_set, ATOM_delete, ATOM_clear, ATOM_size,
    ATOM_message, ATOM_name, ATOM_stack, ATOM_Date, ATOM_length, ATOM_lineNumber,
    ATOM_COUNT
} AtomIndex;

static const char *const atom_names[ATOM_COUNT] = {
    "ccf", "kv", "rpc", "historicalState", "body", "headers", "statusCode", "query", "path",
    "method", "hostname", "route", "url", "params", "caller", "text", "json", "arrayBuffer",
    "_map_name", "has", "get", "forEach", "getVersionOfPreviousWrite", "set", "delete", "clear",
    "size", "message", "name", "stack", "Date", "length", "lineNumber",
};

typedef struct Vm {
    PyObject_HEAD
    Region *region;
    JSRuntime *rt;
    JSContext *ctx;
    char *saved; /* copy of the region */
    size_t saved_top;
    int saved_modules;
    bool dirty; /* ran since the copy was put back */
    bool spent; /* and may not run again before that */
    bool busy;

    PyObject *host;
    PyObject *rows; /* keeps texts of natives alive */
    int natives;
    Native native[NATIVES_MAX];
    PyObject *pending; /* a Python exception on its way through JavaScript code */
    PyRef refs;        /* list head */

    JSClassID kv_class, trace_class;
    JSClassID plain_class; /* of {} */
    JSAtom atom[ATOM_COUNT];
    JSValue function_text, function_line, error_proto[ERROR_CLASSES];
    JSValue traces, traces_get, traces_set; /* a WeakMap: error → trace with columns and marks */
    bool tells_lines; /* of every frame of a trace, also where the original has none */
    JSValue kv_method[8]; /* has get forEach version set delete clear size */
    JSValue body_method[3];
    JSValue lazy_getter[3], lazy_setter[3];
    JSValue rpc_template; /* the object whose functions each request's ccf.rpc gets */

    JSValue *modules;
    int module_count, module_room;

    Bounds inside, outside; /* within a handler call; everywhere else */
    size_t heap_now, stack_now;
    size_t kept; /* at least the bytes that transactions keep of what the script gave them */
    uint64_t deadline;
    uint64_t until; /* no deadline is later; 0: none */
    bool timed_out;
    bool impure; /* looked at the world: tables, chance, clock, or changed it */
    bool trial;  /* stop a script before it does */
    bool kv_per_request;

    Slot slot[SLOTS];
    int slot_next;
    PyObject *body;    /* of the request now running */
    PyObject *context; /* pyccf.apps.context.Context of that request */
    void *request;     /* identity of its request object */
    JSValue lazy[3];   /* headers, hostname, caller; undefined until asked for */
    double call_ms;
    uint64_t started; /* the handler call */

    /* For alarm.c. */
    struct Vm *next, *prev;   /* all interpreters */
    atomic_uint_fast64_t due; /* when work is left by force; 0: not in use */
    atomic_int thread;        /* that uses it */
    volatile int shut;        /* 0: work may be left now */
    sigjmp_buf escape;
    PyObject **held;
    int held_count, held_room;
    JSValue notify; /* the engine's Atomics.notify */
} Vm;

/* Set once by `configure`. */
static PyObject *class_js_error, *class_js_throw, *class_bad_result, *class_kv_space;
static PyObject *py_undefined, *py_null, *py_other;
static PyObject *str_get, *str_has, *str_set, *str_delete, *str_clear, *str_size, *str_foreach,
    *str_previous_version, *str_open_map, *str_refusal, *str_load_module, *str_kind, *str_message,
    *str_headers, *str_request, *str_caller_object, *str_headers_object, *str_host, *str_body, *str_path, *str_query,
    *str_method, *str_route, *str_params, *str_kept;

static inline Vm *vm_of(JSContext *ctx)
{
    return JS_GetContextOpaque(ctx);
}
