/* Answers on their way to sockets, and a thread that hands them over, so that the thread that handles
   requests need not.

   Two boxes. The owner, one thread, fills one with pieces: a piece is what one connection says, copied
   or encrypted straight into the box. The thread empties the other (`sender_go` changes them over), or,
   while it is busy, the owner empties its own (`sender_here`). A piece is offered to its socket once
   and never waited for. What a socket did not take, for whatever reason, is told afterwards
   (`sender_left`, `sender_rest`); after a batch of the thread the descriptor `sender_notice` becomes
   readable then. The thread takes no signal and knows nothing of Python. Before a descriptor is closed
   its piece is pulled out of the box (`sender_pull`), or is over (`sender_over`). */

enum {
    PIECES_MAX = 1024,
    DATA_MAX = 1 << 20,
    RECORD_MAX = 16 * 1024,   /* RFC 8446 5.1; each adds less than RECORD_EXTRA */
    RECORD_EXTRA = 64,
    OTHER_RECORDS = 1024,     /* what TLS may have to say besides */
};

typedef struct {
    int fd;
    size_t at, size;
    size_t sent;
} piece;

typedef struct {
    size_t count, used;
    size_t left;               /* pieces that were not sent whole */
    atomic_size_t over;        /* pieces before this were offered */
    piece pieces[PIECES_MAX];
    char data[DATA_MAX];
} box;

struct sender {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;    /* of `busy` and `end` */
    atomic_bool busy;          /* the thread empties `flying` */
    bool end;
    int notice;
    int (*ssl_write)(void *, const void *, int);
    int (*bio_read)(void *, void *, int);
    box *filling, *flying;
    box boxes[2];
};

static void offer(box *b)
{
    for (size_t i = 0; i < b->count; i++) {
        piece *p = &b->pieces[i];
        if (p->size) {
            ssize_t sent = send(p->fd, b->data + p->at, p->size, MSG_DONTWAIT | MSG_NOSIGNAL);
            p->sent = sent < 0 ? 0 : (size_t)sent;
            b->left += p->sent < p->size;
        }
        atomic_store_explicit(&b->over, i + 1, memory_order_release);
    }
}

static void clear(box *b)
{
    b->count = b->used = b->left = 0;
    b->over = 0;
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
        offer(s->flying);
        /* Before `busy` ends: the owner may look at any time after. A counter that is full is
           readable already. */
        if (s->flying->left)
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
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&s->thread, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0;
}

/* With SSL_write and BIO_read of the library whose connections are served. NULL when the system has
   no memory, descriptor or thread for it. */
static struct sender *sender_new(void *ssl_write, void *bio_read)
{
    struct sender *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    *(void **)&s->ssl_write = ssl_write;
    *(void **)&s->bio_read = bio_read;
    s->filling = &s->boxes[0];
    s->flying = &s->boxes[1];
    s->notice = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->notice >= 0) {
        if (begin(s))
            return s;
        close(s->notice);
    }
    free(s);
    return NULL;
}

/* Readable from the end of a thread's batch that left something, until `sender_clear`. */
static int sender_notice(struct sender *s)
{
    return s->notice;
}

static bool sender_busy(struct sender *s)
{
    return s->busy;
}

/* Returns when the thread is not busy: soon, as no send waits. */
static void sender_wait(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->busy)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void add(box *b, int fd, size_t size)
{
    b->pieces[b->count++] = (piece){.fd = fd, .at = b->used, .size = size};
    b->used += size;
}

/* Put a piece into the box; false when it has no room for it. */
static bool sender_add(struct sender *s, int fd, const char *data, size_t size)
{
    box *b = s->filling;
    if (b->count == PIECES_MAX || size > DATA_MAX - b->used)
        return false;
    memcpy(b->data + b->used, data, size);
    add(b, fd, size);
    return true;
}

/* Encrypt a piece into the box. 0: it has no room for it, and nothing happened. 1: done. 2: done, and
   TLS has more to say after it. -1: TLS refused, the connection is of no use any more. */
static int sender_add_tls(
    struct sender *s, int fd, void *ssl, void *bio, const char *data, size_t size)
{
    box *b = s->filling;
    size_t most = size + (size / RECORD_MAX + 1) * RECORD_EXTRA + OTHER_RECORDS;
    if (b->count == PIECES_MAX || size > DATA_MAX || most > DATA_MAX - b->used)
        return 0;
    if (s->ssl_write(ssl, data, (int)size) != (int)size)
        return -1;
    int n = s->bio_read(bio, b->data + b->used, (int)most);
    if (n <= 0)
        return -1;
    add(b, fd, (size_t)n);
    return (size_t)n < most ? 1 : 2;
}

/* Pieces in the box. */
static size_t sender_count(struct sender *s)
{
    return s->filling->count;
}

/* Give the box to the thread, which must not be busy, and fill the other one, which must be clear. */
static void sender_go(struct sender *s)
{
    box *full = s->filling;
    s->filling = s->flying;
    s->flying = full;
    pthread_mutex_lock(&s->lock);
    s->busy = true;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->changed);
}

/* Offer what is in the box from this thread. */
static void sender_here(struct sender *s)
{
    offer(s->filling);
}

static box *which(struct sender *s, bool flying)
{
    return flying ? s->flying : s->filling;
}

/* How many pieces of a box that was offered were not sent whole. */
static size_t sender_left(struct sender *s, bool flying)
{
    return which(s, flying)->left;
}

/* What was not sent of a piece that was offered, and its size. */
static const char *sender_rest(struct sender *s, bool flying, size_t index, size_t *size)
{
    box *b = which(s, flying);
    piece *p = &b->pieces[index];
    *size = p->size - p->sent;
    return b->data + p->at + p->sent;
}

/* Forget what was in a box that was offered. */
static void sender_clear(struct sender *s, bool flying)
{
    if (flying && s->flying->left)
        (void)!read(s->notice, &(uint64_t){0}, sizeof(uint64_t));
    clear(which(s, flying));
}

/* Whether a piece that the thread was given is sent, and whole. */
static bool sender_over(struct sender *s, size_t index)
{
    box *b = s->flying;
    return index < atomic_load_explicit(&b->over, memory_order_acquire)
        && b->pieces[index].sent == b->pieces[index].size;
}

/* Take a piece out of the box that is being filled. */
static const char *sender_pull(struct sender *s, size_t index, size_t *size)
{
    box *b = s->filling;
    piece *p = &b->pieces[index];
    *size = p->size;
    p->size = p->sent = 0;
    return b->data + p->at;
}

/* Let the thread end what it does, and itself. */
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
