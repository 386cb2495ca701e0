/* Region: all memory of one JavaScript runtime, in one stretch of address space.
 *
 * Because nothing of the runtime lies outside (its own structure, objects, strings, atoms, even the
 * allocator's free lists), a copy of the used part is a copy of the whole state. Putting the copy
 * back gives an interpreter that cannot be told from a fresh one, at the price of a memcpy.
 *
 * Blocks have a 16-byte header and one of a geometric row of sizes; freed blocks are kept in a list
 * per size. Address space is reserved without memory behind it; what a request used beyond the copy
 * is given back to the system when it was much.
 *
 * Under the address sanitizer (`make sanitize-js`) headers, free blocks and what lies between a
 * block's size and its room are forbidden to everybody else. */

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define REGION_CODE __attribute__((no_sanitize("address")))
#define region_forbid(from, bytes) ASAN_POISON_MEMORY_REGION(from, bytes)
#define region_allow(from, bytes) ASAN_UNPOISON_MEMORY_REGION(from, bytes)
#else
#define REGION_CODE
#define region_forbid(from, bytes) ((void)(from), (void)(bytes))
#define region_allow(from, bytes) ((void)(from), (void)(bytes))
#endif

#define REGION_RESERVE_MAX ((size_t)16 << 30)
#define REGION_RESERVE_MIN ((size_t)256 << 20)
#define REGION_KEEP ((size_t)2 << 20) /* memory above the copy that stays mapped between requests */
#define REGION_GIVE_BACK ((size_t)4 << 20) /* freed blocks of this size return their pages */
#define REGION_CLASSES 160
#define PAGE ((size_t)4096)

typedef struct {
    size_t class; /* index of the free list, which tells the room there is */
    size_t size;  /* bytes asked for, as they are charged to the script; BLOCK_FREE */
} Block;

#define BLOCK_FREE SIZE_MAX

typedef struct Region {
    size_t reserve;
    size_t top;  /* bytes used, from the start of this structure */
    size_t peak; /* highest top since the last restore */
    Block *free[REGION_CLASSES];
} Region;

static Region *region_new(void)
{
    size_t reserve = REGION_RESERVE_MAX;
    for (; reserve >= REGION_RESERVE_MIN; reserve /= 2) {
        void *base = mmap(NULL, reserve, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base != MAP_FAILED) {
            Region *r = base;
            r->reserve = reserve;
            r->top = r->peak = (sizeof(Region) + 15) & ~(size_t)15;
            return r;
        }
    }
    return NULL;
}

static void region_delete(Region *r)
{
    region_allow(r, r->peak);
    munmap(r, r->reserve);
}

/* Class of a size: 16-byte steps to 256, then four steps per doubling. Writes the rounded size. */
static inline size_t region_class(size_t size, size_t *rounded)
{
    if (size <= 256) {
        size_t n = size ? (size + 15) / 16 : 1;
        *rounded = n * 16;
        return n - 1;
    }
    unsigned log = 63 - (unsigned)__builtin_clzl(size - 1); /* 2^log < size <= 2^(log+1) */
    size_t step = (size_t)1 << (log - 2);
    size_t n = (size + step - 1) / step; /* 5..8 */
    *rounded = n * step;
    return 16 + (log - 8) * 4 + (n - 5);
}

static inline size_t region_room(size_t class)
{
    if (class < 16)
        return (class + 1) * 16;
    return (5 + (class - 16) % 4) << ((class - 16) / 4 + 6);
}

static REGION_CODE void *region_malloc(void *opaque, size_t size)
{
    Region *r = opaque;
    size_t rounded;
    if (size > r->reserve)
        return NULL;
    size_t class = region_class(size, &rounded);
    Block *b = r->free[class];
    if (b) {
        r->free[class] = *(Block **)(b + 1);
        b->size = size;
        region_allow(b + 1, size);
        return b + 1;
    }
    if (r->reserve - r->top < rounded + sizeof(Block))
        return NULL;
    b = (Block *)((char *)r + r->top);
    r->top += rounded + sizeof(Block);
    if (r->top > r->peak)
        r->peak = r->top;
    b->class = class;
    b->size = size;
    region_forbid(b, sizeof *b + rounded);
    region_allow(b + 1, size);
    return b + 1;
}

static void *region_calloc(void *opaque, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *p = region_malloc(opaque, count * size);
    if (p)
        memset(p, 0, count * size);
    return p;
}

static void region_give_back(char *from, char *to)
{
    char *first = (char *)(((uintptr_t)from + PAGE - 1) & ~(PAGE - 1));
    char *last = (char *)((uintptr_t)to & ~(PAGE - 1));
    if (first < last)
        madvise(first, (size_t)(last - first), MADV_DONTNEED);
}

static REGION_CODE void region_free(void *opaque, void *ptr)
{
    Region *r = opaque;
    if (!ptr)
        return;
    Block *b = (Block *)ptr - 1;
    size_t room = region_room(b->class);
    b->size = BLOCK_FREE;
    *(Block **)ptr = r->free[b->class];
    r->free[b->class] = b;
    region_forbid(ptr, room);
    if (room >= REGION_GIVE_BACK)
        region_give_back((char *)ptr + sizeof(Block *), (char *)ptr + room);
}

static REGION_CODE size_t region_usable_size(const void *ptr)
{
    return ptr ? ((const Block *)ptr - 1)->size : 0;
}

static REGION_CODE void *region_realloc(void *opaque, void *ptr, size_t size)
{
    if (!ptr)
        return region_malloc(opaque, size);
    Block *b = (Block *)ptr - 1;
    size_t room = region_room(b->class);
    if (size <= room && size * 2 >= room) {
        b->size = size;
        region_forbid(ptr, room);
        region_allow(ptr, size);
        return ptr;
    }
    void *made = region_malloc(opaque, size);
    if (!made)
        return NULL;
    memcpy(made, ptr, size < b->size ? size : b->size);
    region_free(opaque, ptr);
    return made;
}

/* Forbid anew what is forbidden, from the headers. */
static REGION_CODE void region_forbid_again(Region *r)
{
#ifdef __SANITIZE_ADDRESS__
    char *at = (char *)r + ((sizeof(Region) + 15) & ~(size_t)15);
    while (at < (char *)r + r->top) {
        Block *b = (Block *)at;
        size_t room = region_room(b->class), used = b->size == BLOCK_FREE ? 0 : b->size;
        region_forbid(b, sizeof *b + room);
        region_allow(b + 1, used);
        at += sizeof *b + room;
    }
#endif
    (void)r;
}

/* Copy the used part out. */
static void region_save(Region *r, char *copy)
{
    region_allow(r, r->peak);
    r->peak = r->top;
    memcpy(copy, r, r->top);
    region_forbid_again(r);
}

/* Put a copy of so many bytes back in. */
static void region_restore(Region *r, const char *copy, size_t bytes)
{
    size_t peak = r->peak;
    region_allow(r, peak);
    memcpy(r, copy, bytes);
    region_forbid_again(r);
    if (peak > bytes + REGION_KEEP)
        region_give_back((char *)r + bytes + REGION_KEEP, (char *)r + peak + PAGE);
}


static const JSMallocFunctions region_functions = {
    region_calloc, region_malloc, region_free, region_realloc, region_usable_size,
};
