/* Alarm: ends engine work that never looks at the clock.
 *
 * The engine asks `interrupt` whether to go on while it runs bytecode and regular expressions, but
 * not in most built-in functions, operators on large BigInts, its compiler or its collector. What is
 * overdue there is left by force: a watcher thread sends the running thread a signal, and the
 * handler jumps out of the engine to where the call was begun (`guarded` in vm.c).
 *
 * That is sound because all memory of an interpreter lies in its region: what was half done is
 * either overwritten by the saved copy or never used again. The jump is made only
 *   - while the program counter is in the engine's own code, or in one of the C library's functions
 *     that move and compare memory, called by the engine; so never out of the rest of the C library
 *     (whose locks the engine may have taken), of Python or of this extension;
 *   - while the interpreter is not `shut`. It is shut except inside OPEN(...), which is put around
 *     calls of the engine that may take long or run the script's code. There no Python reference may
 *     be owned by the C stack unless it is held (`hold`), nor other memory from outside the region.
 * The engine's only lock, that of Atomics.notify, is never taken (js_notify in vm.c). */

#ifndef ALARM_GRACE_NS /* the engine's own look at the clock comes first */
#define ALARM_GRACE_NS ((uint64_t)200 * 1000000)
#endif
#define ALARM_TICK_NS 20000000L                  /* how often the watcher looks */
#define ALARM_RETRY_NS 1000000L                  /* and while something is overdue */
#define MEMORY_FUNCTION_BYTES ((uintptr_t)4096) /* at most, of the C library's memcpy and the like */
#define ALARM_IDLE_TICKS 100                     /* looks without a call before it sleeps */

/* Work of the engine that may be left by force / of ours, called by the engine, that may not. */
#define OPEN(vm, expression)                                                                       \
    ({                                                                                             \
        (vm)->shut--;                                                                              \
        __auto_type done_ = (expression);                                                          \
        (vm)->shut++;                                                                              \
        done_;                                                                                     \
    })
#define SHUT(vm, expression)                                                                       \
    ({                                                                                             \
        (vm)->shut++;                                                                              \
        __auto_type done_ = (expression);                                                          \
        (vm)->shut--;                                                                              \
        done_;                                                                                     \
    })

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* -- references held across work that may be left ------------------------------------------------- */

/* Release `o` if the work is left. Takes no reference; false (with a Python exception) without
 * memory. Undone by setting held_count back to what it was. */
static bool hold(Vm *vm, PyObject *o)
{
    if (vm->held_count == vm->held_room) {
        int room = vm->held_room ? 2 * vm->held_room : 32;
        PyObject **more = realloc(vm->held, (size_t)room * sizeof *more);
        if (!more) {
            PyErr_NoMemory();
            return false;
        }
        vm->held = more;
        vm->held_room = room;
    }
    vm->held[vm->held_count++] = o;
    return true;
}

/* -- the signal ------------------------------------------------------------------------------------- */

static _Thread_local Vm *running __attribute__((tls_model("initial-exec"))); /* innermost call */
static _Thread_local pid_t own_thread __attribute__((tls_model("initial-exec")));

static uintptr_t engine_from, engine_to; /* the engine's code */
static int alarm_signal;

#if defined(__x86_64__)
#define PROGRAM_COUNTER(c) ((uintptr_t)(c)->uc_mcontext.gregs[REG_RIP])
#define LEAF_CALLER(c) (*(const uintptr_t *)(c)->uc_mcontext.gregs[REG_RSP])
#elif defined(__aarch64__)
#define PROGRAM_COUNTER(c) ((uintptr_t)(c)->uc_mcontext.pc)
#define LEAF_CALLER(c) ((uintptr_t)(c)->uc_mcontext.regs[30])
#else
#error "say where this machine keeps the program counter and a leaf function's return address"
#endif

static bool in_engine(uintptr_t at)
{
    return at >= engine_from && at < engine_to;
}

/* Copying or comparing memory for the engine: these take no locks and keep nothing. They need no
 * stack, so what lies on top of it is where they return to. */
static bool in_memory_function(const ucontext_t *context)
{
    const uintptr_t functions[] = {(uintptr_t)memcmp, (uintptr_t)memcpy, (uintptr_t)memmove,
                                   (uintptr_t)memset, (uintptr_t)memchr};
    uintptr_t at = PROGRAM_COUNTER(context);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (at - functions[i] < MEMORY_FUNCTION_BYTES)
            return in_engine(LEAF_CALLER(context));
    return false;
}

static void alarm_rang(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    Vm *vm = running;
    if (!vm || vm->shut || clock_ns() <= atomic_load_explicit(&vm->due, memory_order_relaxed))
        return;
    if (!in_engine(PROGRAM_COUNTER((ucontext_t *)context)) && !in_memory_function(context))
        return; /* the watcher sends another one soon */
    vm->shut = 1;
    siglongjmp(vm->escape, 1);
}

static int find_engine(struct dl_phdr_info *object, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    uintptr_t known = (uintptr_t)JS_GetVersion;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t from = object->dlpi_addr + part->p_vaddr, to = from + part->p_memsz;
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) && known >= from && known < to) {
            engine_from = from;
            engine_to = to;
            return 1;
        }
    }
    return 0;
}

/* -- the watcher ------------------------------------------------------------------------------------ */

static struct {
    pthread_mutex_t lock; /* of the list */
    Vm *first;            /* all interpreters */
    sem_t wake;
    atomic_bool sleeping;
    bool started;
} watcher = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* One look at all interpreters: whether one is in use, and whether one is overdue. */
static bool watcher_look(bool *overdue)
{
    bool used = false;
    *overdue = false;
    pthread_mutex_lock(&watcher.lock);
    uint64_t now = clock_ns();
    for (Vm *vm = watcher.first; vm; vm = vm->next) {
        uint64_t due = atomic_load(&vm->due);
        used |= due != 0;
        if (due && now > due) {
            *overdue = true;
            syscall(SYS_tgkill, getpid(), atomic_load(&vm->thread), alarm_signal);
        }
    }
    pthread_mutex_unlock(&watcher.lock);
    return used;
}

static void *watcher_run(void *unused)
{
    (void)unused;
    for (int idle = 0;;) {
        bool overdue;
        idle = watcher_look(&overdue) ? 0 : idle + 1;
        if (idle > ALARM_IDLE_TICKS) {
            /* Either this look sees a call that begins now, or the call sees `sleeping`. */
            atomic_store(&watcher.sleeping, true);
            if (!watcher_look(&overdue))
                while (sem_wait(&watcher.wake) && errno == EINTR)
                    ;
            atomic_store(&watcher.sleeping, false);
            idle = 0;
        }
        struct timespec pause = {0, overdue ? ALARM_RETRY_NS : ALARM_TICK_NS};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void after_fork(void)
{
    pthread_mutex_init(&watcher.lock, NULL);
    watcher.started = false;
    own_thread = 0;
}

/* Begin to watch in this process; false with a Python exception. Called with the interpreter lock. */
static bool watcher_start(void)
{
    static bool prepared;
    if (!prepared) {
        if (!dl_iterate_phdr(find_engine, NULL)) {
            PyErr_SetString(PyExc_RuntimeError, "the engine's code cannot be found in memory");
            return false;
        }
        struct sigaction old, ours = {.sa_sigaction = alarm_rang,
                                      .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER};
        for (alarm_signal = SIGRTMAX; alarm_signal >= SIGRTMIN; alarm_signal--)
            if (!sigaction(alarm_signal, NULL, &old) && old.sa_handler == SIG_DFL)
                break;
        if (alarm_signal < SIGRTMIN || sigaction(alarm_signal, &ours, NULL) ||
            pthread_atfork(NULL, NULL, after_fork)) {
            PyErr_SetString(PyExc_RuntimeError, "no signal is free for the time limit of scripts");
            return false;
        }
        prepared = true;
    }
    sem_init(&watcher.wake, 0, 0);
    atomic_store(&watcher.sleeping, false);
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, (size_t)256 << 10);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the other threads */
    int failed = pthread_create(&thread, &attr, watcher_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (failed) {
        PyErr_SetString(PyExc_RuntimeError, "no thread for the time limit of scripts");
        return false;
    }
    watcher.started = true;
    return true;
}

static void watcher_add(Vm *vm)
{
    pthread_mutex_lock(&watcher.lock);
    vm->next = watcher.first;
    if (vm->next)
        vm->next->prev = vm;
    watcher.first = vm;
    pthread_mutex_unlock(&watcher.lock);
}

static void watcher_remove(Vm *vm)
{
    pthread_mutex_lock(&watcher.lock);
    if (vm->prev)
        vm->prev->next = vm->next;
    else
        watcher.first = vm->next;
    if (vm->next)
        vm->next->prev = vm->prev;
    pthread_mutex_unlock(&watcher.lock);
}

/* This thread is about to use the interpreter. */
static void watcher_begin(Vm *vm)
{
    if (!own_thread)
        own_thread = (pid_t)syscall(SYS_gettid);
    atomic_store_explicit(&vm->thread, own_thread, memory_order_relaxed);
    atomic_store(&vm->due, UINT64_MAX);
    if (atomic_load(&watcher.sleeping) && atomic_exchange(&watcher.sleeping, false))
        sem_post(&watcher.wake);
}
