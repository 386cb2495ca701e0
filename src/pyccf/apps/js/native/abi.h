/* The part of QuickJS-ng 0.17's C interface that this engine uses, for 64-bit machines.
 *
 * The library comes from a wheel that ships no header. A value is 16 bytes (no NaN boxing). The
 * version is compared when the extension is imported; any other is refused. */

typedef struct JSRuntime JSRuntime;
typedef struct JSContext JSContext;
typedef struct JSModuleDef JSModuleDef;
typedef uint32_t JSClassID;
typedef uint32_t JSAtom;

typedef struct {
    union {
        int32_t int32;
        double float64;
        void *ptr;
    } u;
    int64_t tag;
} JSValue;

enum {
    TAG_BIG_INT = -9,
    TAG_SYMBOL = -8,
    TAG_STRING = -7,
    TAG_STRING_ROPE = -6,
    TAG_MODULE = -3,
    TAG_OBJECT = -1,
    TAG_INT = 0,
    TAG_BOOL = 1,
    TAG_NULL = 2,
    TAG_UNDEFINED = 3,
    TAG_EXCEPTION = 6,
    TAG_SHORT_BIG_INT = 7,
    TAG_FLOAT64 = 8,
};

enum {
    PROP_CONFIGURABLE = 1,
    PROP_WRITABLE = 2,
    PROP_ENUMERABLE = 4,
    PROP_CWE = 7,
    PROP_HAS_CONFIGURABLE = 1 << 8,
    PROP_HAS_ENUMERABLE = 1 << 10,
    PROP_HAS_GET = 1 << 11,
    PROP_HAS_SET = 1 << 12,
};

enum { EVAL_MODULE = 1, EVAL_COMPILE_ONLY = 1 << 5 };
enum { WRITE_BYTECODE = 1 };
enum { NAMES_STRING = 1, NAMES_ENUM_ONLY = 1 << 4 };
enum { CFUNC_GENERIC = 0, CFUNC_GENERIC_MAGIC = 1, CFUNC_GETTER_MAGIC = 10, CFUNC_SETTER_MAGIC = 11 };

typedef JSValue JSCFunction(JSContext *, JSValue self, int argc, JSValue *argv);
typedef JSValue JSCFunctionMagic(JSContext *, JSValue self, int argc, JSValue *argv, int magic);
typedef JSValue JSCFunctionData(JSContext *, JSValue self, int argc, JSValue *argv, int magic,
                                JSValue *data);
typedef JSValue JSGetterMagic(JSContext *, JSValue self, int magic);
typedef JSValue JSSetterMagic(JSContext *, JSValue self, JSValue value, int magic);

typedef struct {
    void *(*calloc)(void *opaque, size_t count, size_t size);
    void *(*malloc)(void *opaque, size_t size);
    void (*free)(void *opaque, void *ptr);
    void *(*realloc)(void *opaque, void *ptr, size_t size);
    size_t (*usable_size)(const void *ptr);
} JSMallocFunctions;

typedef struct {
    bool is_enumerable;
    JSAtom atom;
} JSPropertyEnum;

typedef struct {
    int flags;
    JSValue value, getter, setter;
} JSPropertyDescriptor;

typedef struct {
    int (*get_own_property)(JSContext *, JSPropertyDescriptor *, JSValue obj, JSAtom prop);
    int (*get_own_property_names)(JSContext *, JSPropertyEnum **, uint32_t *, JSValue obj);
    int (*delete_property)(JSContext *, JSValue obj, JSAtom prop);
    int (*define_own_property)(JSContext *, JSValue obj, JSAtom prop, JSValue value, JSValue getter,
                               JSValue setter, int flags);
    int (*has_property)(JSContext *, JSValue obj, JSAtom prop);
    JSValue (*get_property)(JSContext *, JSValue obj, JSAtom prop, JSValue receiver);
    int (*set_property)(JSContext *, JSValue obj, JSAtom prop, JSValue value, JSValue receiver,
                        int flags);
} JSClassExoticMethods;

typedef struct {
    const char *class_name;
    void (*finalizer)(JSRuntime *, JSValue);
    void (*gc_mark)(JSRuntime *, JSValue, void *);
    JSValue (*call)(JSContext *, JSValue f, JSValue self, int argc, JSValue *argv, int flags);
    JSClassExoticMethods *exotic;
} JSClassDef;

extern const char *JS_GetVersion(void);

extern JSRuntime *JS_NewRuntime2(const JSMallocFunctions *, void *opaque);
extern void JS_FreeRuntime(JSRuntime *);
extern void JS_SetMemoryLimit(JSRuntime *, size_t);
extern void JS_SetMaxStackSize(JSRuntime *, size_t);
extern void JS_UpdateStackTop(JSRuntime *);
extern void JS_SetInterruptHandler(JSRuntime *, int (*)(JSRuntime *, void *), void *);
extern void JS_SetModuleLoaderFunc(JSRuntime *,
                                   char *(*normalize)(JSContext *, const char *, const char *, void *),
                                   JSModuleDef *(*load)(JSContext *, const char *, void *), void *);
extern void JS_RunGC(JSRuntime *);

extern JSContext *JS_NewContextRaw(JSRuntime *);
extern void JS_FreeContext(JSContext *);
extern void JS_SetContextOpaque(JSContext *, void *);
extern void *JS_GetContextOpaque(JSContext *);
extern int JS_AddIntrinsicBaseObjects(JSContext *);
extern int JS_AddIntrinsicDate(JSContext *);
extern int JS_AddIntrinsicEval(JSContext *);
extern int JS_AddIntrinsicRegExp(JSContext *);
extern int JS_AddIntrinsicJSON(JSContext *);
extern int JS_AddIntrinsicProxy(JSContext *);
extern int JS_AddIntrinsicMapSet(JSContext *);
extern int JS_AddIntrinsicTypedArrays(JSContext *);
extern int JS_AddIntrinsicPromise(JSContext *);

extern void *js_malloc(JSContext *, size_t);
extern void js_free(JSContext *, void *);

extern JSAtom JS_NewAtomLen(JSContext *, const char *, size_t);
extern JSAtom JS_NewAtom(JSContext *, const char *);
extern void JS_FreeAtom(JSContext *, JSAtom);
extern JSValue JS_AtomToString(JSContext *, JSAtom);
extern JSValue JS_AtomToValue(JSContext *, JSAtom);
extern JSAtom JS_ValueToAtom(JSContext *, JSValue);

extern JSClassID JS_NewClassID(JSRuntime *, JSClassID *);
extern int JS_NewClass(JSRuntime *, JSClassID, const JSClassDef *);

extern JSValue JS_Throw(JSContext *, JSValue);
extern JSValue JS_GetException(JSContext *);
extern bool JS_HasException(JSContext *);
extern bool JS_IsError(JSValue);
extern void JS_SetUncatchableError(JSContext *, JSValue);
extern JSValue JS_NewError(JSContext *);
extern JSValue JS_ThrowTypeError(JSContext *, const char *, ...);
extern JSValue JS_ThrowRangeError(JSContext *, const char *, ...);
extern JSValue JS_ThrowSyntaxError(JSContext *, const char *, ...);
extern JSValue JS_ThrowInternalError(JSContext *, const char *, ...);
extern JSValue JS_ThrowPlainError(JSContext *, const char *, ...);
extern JSValue JS_ThrowOutOfMemory(JSContext *);

extern void JS_FreeValue(JSContext *, JSValue);
extern JSValue JS_DupValue(JSContext *, JSValue);

extern int JS_ToBool(JSContext *, JSValue);
extern int JS_ToInt64(JSContext *, int64_t *, JSValue);
extern int JS_ToFloat64(JSContext *, double *, JSValue);
extern JSValue JS_NewNumber(JSContext *, double);
extern JSValue JS_NewStringLen(JSContext *, const char *, size_t);
extern JSValue JS_NewStringUTF16(JSContext *, const uint16_t *, size_t);
extern JSValue JS_ToString(JSContext *, JSValue);
extern const char *JS_ToCStringLen2(JSContext *, size_t *, JSValue, bool cesu8);
extern void JS_FreeCString(JSContext *, const char *);

extern JSValue JS_NewObject(JSContext *);
extern JSValue JS_NewObjectClass(JSContext *, JSClassID);
extern JSValue JS_NewObjectProto(JSContext *, JSValue proto);
extern JSValue JS_NewArray(JSContext *);
extern bool JS_IsFunction(JSContext *, JSValue);
extern JSValue JS_GetProperty(JSContext *, JSValue, JSAtom);
extern JSValue JS_GetPropertyStr(JSContext *, JSValue, const char *);
extern JSValue JS_GetPropertyUint32(JSContext *, JSValue, uint32_t);
extern int JS_SetProperty(JSContext *, JSValue, JSAtom, JSValue);
extern int JS_SetPropertyStr(JSContext *, JSValue, const char *, JSValue);
extern int JS_HasProperty(JSContext *, JSValue, JSAtom);
extern int JS_DeleteProperty(JSContext *, JSValue, JSAtom, int flags);
extern int JS_DefinePropertyValue(JSContext *, JSValue, JSAtom, JSValue, int flags);
extern int JS_DefinePropertyValueUint32(JSContext *, JSValue, uint32_t, JSValue, int flags);
extern int JS_DefinePropertyValueStr(JSContext *, JSValue, const char *, JSValue, int flags);
extern int JS_DefinePropertyGetSet(JSContext *, JSValue, JSAtom, JSValue get, JSValue set, int flags);
extern int JS_GetOwnPropertyNames(JSContext *, JSPropertyEnum **, uint32_t *, JSValue, int flags);
extern void JS_FreePropertyEnum(JSContext *, JSPropertyEnum *, uint32_t);
extern int JS_GetOwnProperty(JSContext *, JSPropertyDescriptor *, JSValue, JSAtom);
extern JSValue JS_GetPrototype(JSContext *, JSValue);
extern int JS_SetPrototype(JSContext *, JSValue, JSValue proto);
extern JSValue JS_Call(JSContext *, JSValue f, JSValue self, int argc, JSValue *argv);
extern JSValue JS_CallConstructor(JSContext *, JSValue f, int argc, JSValue *argv);
extern JSValue JS_Eval(JSContext *, const char *, size_t, const char *filename, int flags);
extern JSValue JS_EvalFunction(JSContext *, JSValue);
extern int JS_ExecutePendingJob(JSRuntime *, JSContext **);
extern JSValue JS_GetGlobalObject(JSContext *);
extern JSValue JS_GetModuleNamespace(JSContext *, JSModuleDef *);
extern int JS_SetOpaque(JSValue, void *);
extern void *JS_GetOpaque(JSValue, JSClassID);
extern void *JS_GetAnyOpaque(JSValue, JSClassID *);
extern JSClassID JS_GetClassID(JSValue);

extern JSValue JS_ParseJSON(JSContext *, const char *, size_t, const char *filename);
extern JSValue JS_JSONStringify(JSContext *, JSValue, JSValue replacer, JSValue space);
extern JSValue JS_NewArrayBufferCopy(JSContext *, const uint8_t *, size_t);
extern uint8_t *JS_GetArrayBuffer(JSContext *, size_t *, JSValue);
extern JSValue JS_GetTypedArrayBuffer(JSContext *, JSValue, size_t *offset, size_t *length,
                                      size_t *element);
extern int JS_GetTypedArrayType(JSValue);
extern uint8_t *JS_WriteObject(JSContext *, size_t *, JSValue, int flags);
extern JSValue JS_NewCFunction2(JSContext *, JSCFunction *, const char *name, int length, int proto,
                                int magic);
extern JSValue JS_NewCFunctionData(JSContext *, JSCFunctionData *, int length, int magic, int count,
                                   JSValue *data);

_Static_assert(sizeof(void *) == 8 && sizeof(JSValue) == 16, "values are boxed otherwise on 32 bits");

static inline JSValue js_value(int64_t tag, int32_t value)
{
    JSValue v;
    v.u.float64 = 0;
    v.u.int32 = value;
    v.tag = tag;
    return v;
}

#define JS_UNDEFINED js_value(TAG_UNDEFINED, 0)
#define JS_NULL js_value(TAG_NULL, 0)
#define JS_EXCEPTION js_value(TAG_EXCEPTION, 0)
#define js_bool(b) js_value(TAG_BOOL, (b) != 0)
#define js_int(i) js_value(TAG_INT, (i))
#define is_exception(v) ((v).tag == TAG_EXCEPTION)
#define is_object(v) ((v).tag == TAG_OBJECT)
#define is_undefined(v) ((v).tag == TAG_UNDEFINED)
#define is_string(v) ((v).tag == TAG_STRING || (v).tag == TAG_STRING_ROPE)
