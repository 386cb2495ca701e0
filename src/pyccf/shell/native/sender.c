/* A thread that hands bytes to sockets, so that the thread that handles requests need not.

   One batch at a time. Its owner, one thread, adds pieces while no batch is under way
   (`sender_add`), starts the batch (`sender_go`) and goes on with other work. Each piece is a copy,
   is offered to its socket once and never waited for; what a socket did not take, for whatever
   reason, is told afterwards (`sender_left`, `sender_sent`), and the descriptor `sender_notice`
   becomes readable. The thread takes no signal and knows nothing of Python. Whoever closes a
   descriptor waits for the batch first (`sender_wait`). */

enum {
    PIECES_MAX = 1024,
    DATA_MAX = 1 << 20,
    STACK_SIZE = 128 * 1024,
};

typedef struct {
    int fd;
    size_t at, size;
    size_t sent;
} piece;

struct sender {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;   /* of `busy` and `end` */
    atomic_bool busy;         /* a batch is under way: all below belongs to the thread */
    bool end;
    int notice;
    size_t count, used, left;
    piece pieces[PIECES_MAX];
    char data[DATA_MAX];
};

static void offer_all(struct sender *s)
{
    for (size_t i = 0; i < s->count; i++) {
        piece *p = &s->pieces[i];
        ssize_t sent = send(p->fd, s->data + p->at, p->size, MSG_DONTWAIT | MSG_NOSIGNAL);
        p->sent = sent < 0 ? 0 : (size_t)sent;
        s->left += p->sent < p->size;
    }
}

static void *work(void *argument)
{
    struct sender *s = argument;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->busy && !s->end)
            pthread_cond_wait(&s->changed, &s->lock);
        if (!s->busy)
            break;
        pthread_mutex_unlock(&s->lock);
        offer_all(s);
        /* Before `busy` ends: the owner may look at any time after. A counter that is full is
           readable already. */
        if (s->left)
            (void)!write(s->notice, &(uint64_t){1}, sizeof(uint64_t));
        pthread_mutex_lock(&s->lock);
        s->busy = false;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool begin(struct sender *s)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&s->thread, &attributes, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed == 0;
}

/* NULL when the system has no memory, descriptor or thread for it. */
static struct sender *sender_new(void)
{
    struct sender *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->notice = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->notice >= 0) {
        if (begin(s))
            return s;
        close(s->notice);
    }
    free(s);
    return NULL;
}

/* Readable from the end of a batch that left something, until `sender_clear`. */
static int sender_notice(struct sender *s)
{
    return s->notice;
}

static bool sender_busy(struct sender *s)
{
    return s->busy;
}

/* Returns when no batch is under way: soon, as no send waits. */
static void sender_wait(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->busy)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* Pieces of the last batch that were not sent whole. */
static size_t sender_left(struct sender *s)
{
    return s->left;
}

/* How much was sent of the last batch's piece `index`. */
static size_t sender_sent(struct sender *s, size_t index)
{
    return index < s->count ? s->pieces[index].sent : 0;
}

/* Forget the last batch. */
static void sender_clear(struct sender *s)
{
    if (s->left)
        (void)!read(s->notice, &(uint64_t){0}, sizeof(uint64_t));
    s->count = s->used = s->left = 0;
}

/* Put a piece into the next batch; false when it has no room for it. */
static bool sender_add(struct sender *s, int fd, const char *data, size_t size)
{
    if (s->count == PIECES_MAX || size > DATA_MAX - s->used)
        return false;
    memcpy(s->data + s->used, data, size);
    s->pieces[s->count++] = (piece){.fd = fd, .at = s->used, .size = size};
    s->used += size;
    return true;
}

/* Have the batch sent. */
static void sender_go(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    s->busy = true;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->changed);
}

/* Let a batch that is under way end, then the thread. */
static void sender_free(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    s->end = true;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->changed);
    pthread_join(s->thread, NULL);
    close(s->notice);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
