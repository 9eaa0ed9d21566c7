/* A read-only S3 for benchmarks: the objects of a manifest, their bytes cut from one pool.
 *
 * It checks no signature and keeps nothing but the manifest in memory, so that it costs as
 * little beside the programs that are measured as a server can. Loopback only.
 */
#ifndef LIGHT_S3_H
#define LIGHT_S3_H

#include <stddef.h>
#include <stdint.h>

/* One line of the manifest, tabs between: key, size, offset in the pool, ETag without quotes,
 * Last-Modified as HTTP date, the same in ISO 8601, part size (0: no parts), CRC64NVME or "-".
 * Lines are sorted by the bytes of the key; keys need no escaping in XML or URLs. */
struct object {
    const char *key, *etag, *http_date, *iso_date, *crc;
    size_t key_length;
    uint64_t size, offset, part_size;
};

/* The bytes of an object go round in the pool: byte i is pool[(offset + i) % pool_size]. */
struct store {
    struct object *objects;
    size_t count;
    const unsigned char *pool;
    size_t pool_size;
    const char *bucket;
};

struct store store_open(const char *manifest, const char *pool, const char *bucket);
/* The index of the first object whose key is >= the text. */
size_t store_find(const struct store *store, const char *key, size_t length);

struct text {
    char *data;
    size_t length, room;
};

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_append(struct text *text, const char *data, size_t length);

/* What is sent: a head, then either a text or a stretch of an object. */
struct answer {
    struct text head, body;
    const struct object *object;
    uint64_t from, left;
};

struct request {
    int is_head;
    char *path, *query;     /* still percent-encoded */
    const char *headers;    /* the lines after the first, NUL at the end */
};

void answer_request(const struct store *store, const struct request *request,
                    struct answer *answer);

#endif
