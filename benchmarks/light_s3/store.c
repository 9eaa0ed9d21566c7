/* The manifest in memory, and the pool mapped. */
#include "light_s3.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void *map(const char *path, size_t *size, int protection)
{
    struct stat found;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &found) < 0) {
        perror(path);
        exit(2);
    }
    *size = (size_t)found.st_size;
    void *start = mmap(NULL, *size, protection, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (start == MAP_FAILED) {
        perror(path);
        exit(2);
    }
    close(file);
    return start;
}

/* The next field, ended with a NUL in place. */
static char *field(char **cursor, char end)
{
    char *start = *cursor, *stop = strchr(start, end);
    if (!stop) {
        fprintf(stderr, "the manifest is cut short at: %.60s\n", start);
        exit(2);
    }
    *stop = '\0';
    *cursor = stop + 1;
    return start;
}

static void read_line(struct object *object, char **cursor)
{
    object->key = field(cursor, '\t');
    object->key_length = strlen(object->key);
    object->size = strtoull(field(cursor, '\t'), NULL, 10);
    object->offset = strtoull(field(cursor, '\t'), NULL, 10);
    object->etag = field(cursor, '\t');
    object->http_date = field(cursor, '\t');
    object->iso_date = field(cursor, '\t');
    object->part_size = strtoull(field(cursor, '\t'), NULL, 10);
    object->crc = field(cursor, '\n');
}

struct store store_open(const char *manifest, const char *pool, const char *bucket)
{
    struct store store = {.bucket = bucket};
    size_t length, room = 1024;
    char *text = map(manifest, &length, PROT_READ | PROT_WRITE), *cursor = text;
    store.pool = map(pool, &store.pool_size, PROT_READ);
    store.objects = malloc(room * sizeof *store.objects);
    while (cursor < text + length) {
        if (store.count == room)
            store.objects = realloc(store.objects, (room *= 2) * sizeof *store.objects);
        read_line(&store.objects[store.count++], &cursor);
    }
    return store;
}

static int compare(const struct object *object, const char *key, size_t length)
{
    size_t both = object->key_length < length ? object->key_length : length;
    int order = memcmp(object->key, key, both);
    return order ? order : (object->key_length > length) - (object->key_length < length);
}

size_t store_find(const struct store *store, const char *key, size_t length)
{
    size_t low = 0, high = store->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&store->objects[middle], key, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void make_room(struct text *text, size_t more)
{
    if (text->length + more < text->room)
        return;
    text->room = 2 * (text->length + more) + 256;
    text->data = realloc(text->data, text->room);
}

void text_append(struct text *text, const char *data, size_t length)
{
    make_room(text, length);
    memcpy(text->data + text->length, data, length);
    text->length += length;
}

void text_add(struct text *text, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = vsnprintf(NULL, 0, format, values);
    va_end(values);
    make_room(text, (size_t)length + 1);
    va_start(values, format);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, values);
    va_end(values);
    text->length += (size_t)length;
}
