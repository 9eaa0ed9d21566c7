/* What S3 says: GetObject, HeadObject and ListObjectsV2, as far as mirrors use them. */
#define _GNU_SOURCE
#include "light_s3.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TEXT(text, literal) text_append((text), (literal), sizeof(literal) - 1)

/* The value of a header line, copied without its spaces; 0 when it is not there. */
static int header(const struct request *request, const char *name, char *value, size_t room)
{
    size_t length = strlen(name);
    for (const char *line = request->headers; *line;) {
        const char *end = strstr(line, "\r\n");
        if (!end)
            end = line + strlen(line);
        if (!strncasecmp(line, name, length) && line[length] == ':') {
            const char *start = line + length + 1;
            while (*start == ' ')
                start++;
            size_t size = (size_t)(end - start) < room ? (size_t)(end - start) : room - 1;
            memcpy(value, start, size);
            value[size] = '\0';
            return 1;
        }
        line = *end ? end + 2 : end;
    }
    return 0;
}

static void decode(char *text)
{
    char *to = text;
    for (char *from = text; *from; from++) {
        unsigned byte;
        if (*from == '%' && sscanf(from + 1, "%2x", &byte) == 1) {
            *to++ = (char)byte;
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

/* A parameter of the query, decoded into `value`; 0 when it is not there. */
static int parameter(const char *query, const char *name, char *value, size_t room)
{
    size_t length = strlen(name);
    for (const char *item = query; item; item = strchr(item, '&')) {
        item += *item == '&';
        if (!strncmp(item, name, length) && (item[length] == '=' || item[length] == '&' ||
                                             item[length] == '\0')) {
            const char *start = item + length + (item[length] == '=');
            size_t size = strcspn(start, "&");
            size = size < room ? size : room - 1;
            memcpy(value, start, size);
            value[size] = '\0';
            decode(value);
            return 1;
        }
    }
    return 0;
}

static void head(struct answer *answer, const char *status, const char *type, uint64_t length)
{
    text_add(&answer->head,
             "HTTP/1.1 %s\r\nServer: light-s3\r\nx-amz-request-id: 1\r\n"
             "Content-Type: %s\r\nContent-Length: %llu\r\n",
             status, type, (unsigned long long)length);
}

static void refuse(const struct request *request, struct answer *answer, const char *status,
                   const char *code)
{
    struct text body = {0};
    text_add(&body,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
             "<Error><Code>%s</Code><Message>%s</Message></Error>", code, status);
    head(answer, status, "application/xml", body.length);
    TEXT(&answer->head, "\r\n");
    if (request->is_head)
        free(body.data);
    else
        answer->body = body;
}

/* Objects */

static int fits(const char *given, const struct object *object)
{
    size_t length = strlen(object->etag);
    given += *given == '"';
    return !strcmp(given, "*") || (!strncmp(given, object->etag, length) &&
                                   (given[length] == '"' || given[length] == '\0'));
}

/* Cuts [from, to] out of an object: 1 with a range that can be met, 0 without one, -1. */
static int range(const struct request *request, const struct object *object, uint64_t *from,
                 uint64_t *to)
{
    char value[128], *end;
    *from = 0, *to = object->size - 1;
    if (parameter(request->query, "partNumber", value, sizeof value)) {
        uint64_t size = object->part_size ? object->part_size : object->size;
        *from = (strtoull(value, NULL, 10) - 1) * size;
        *to = *from + size - 1;
    } else if (header(request, "range", value, sizeof value) && !strncmp(value, "bytes=", 6)) {
        *from = strtoull(value + 6, &end, 10);
        if (end[0] == '-' && isdigit((unsigned char)end[1]))
            *to = strtoull(end + 1, NULL, 10);
    } else {
        return 0;
    }
    if (*to >= object->size)
        *to = object->size - 1;
    return object->size && *from <= *to ? 1 : -1;
}

static void tell_object(const struct request *request, const struct object *object,
                        struct answer *answer)
{
    char value[256];
    uint64_t from, to;
    if (header(request, "if-match", value, sizeof value) && !fits(value, object))
        return refuse(request, answer, "412 Precondition Failed", "PreconditionFailed");
    if (header(request, "if-none-match", value, sizeof value) && fits(value, object)) {
        text_add(&answer->head, "HTTP/1.1 304 Not Modified\r\nETag: \"%s\"\r\n\r\n",
                 object->etag);
        return;
    }
    int cut = range(request, object, &from, &to);
    if (cut < 0)
        return refuse(request, answer, "416 Range Not Satisfiable", "InvalidRange");
    uint64_t length = cut ? to - from + 1 : object->size;
    head(answer, cut ? "206 Partial Content" : "200 OK", "application/octet-stream", length);
    text_add(&answer->head, "Accept-Ranges: bytes\r\nETag: \"%s\"\r\nLast-Modified: %s\r\n",
             object->etag, object->http_date);
    if (cut)
        text_add(&answer->head, "Content-Range: bytes %llu-%llu/%llu\r\n",
                 (unsigned long long)from, (unsigned long long)to,
                 (unsigned long long)object->size);
    if (parameter(request->query, "partNumber", value, sizeof value) && object->part_size)
        text_add(&answer->head, "x-amz-mp-parts-count: %llu\r\n",
                 (unsigned long long)((object->size + object->part_size - 1) /
                                      object->part_size));
    if (object->crc[0] != '-' && header(request, "x-amz-checksum-mode", value, sizeof value))
        text_add(&answer->head,
                 "x-amz-checksum-crc64nvme: %s\r\nx-amz-checksum-type: FULL_OBJECT\r\n",
                 object->crc);
    TEXT(&answer->head, "\r\n");
    if (!request->is_head) {
        answer->object = object;
        answer->from = from;
        answer->left = length;
    }
}

/* Listings */

struct wish {
    char prefix[1100], after[1100], delimiter[8], limit[16];
};

static void add_entry(struct text *body, const struct object *object)
{
    char size[24];
    TEXT(body, "<Contents><Key>");
    text_append(body, object->key, object->key_length);
    TEXT(body, "</Key><LastModified>");
    text_append(body, object->iso_date, strlen(object->iso_date));
    TEXT(body, "</LastModified><ETag>&quot;");
    text_append(body, object->etag, strlen(object->etag));
    TEXT(body, "&quot;</ETag>");
    if (object->crc[0] != '-')
        TEXT(body, "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>"
                   "<ChecksumType>FULL_OBJECT</ChecksumType>");
    TEXT(body, "<Size>");
    text_append(body, size, (size_t)sprintf(size, "%llu", (unsigned long long)object->size));
    TEXT(body, "</Size><StorageClass>STANDARD</StorageClass></Contents>");
}

/* The index after the last object of a common prefix. */
static size_t past(const struct store *store, const char *prefix, size_t length)
{
    char next[2200];
    memcpy(next, prefix, length);
    next[length - 1]++;
    return store_find(store, next, length);
}

/* Adds a page from `index` on; returns where the next one begins. */
static size_t add_page(const struct store *store, const struct wish *wish, size_t index,
                       size_t limit, struct text *body, size_t *told)
{
    struct text folders = {0};
    size_t prefix = strlen(wish->prefix);
    for (; index < store->count && *told < limit; ++*told) {
        const struct object *object = &store->objects[index];
        if (strncmp(object->key, wish->prefix, prefix))
            break;
        const char *cut = *wish->delimiter ? strstr(object->key + prefix, wish->delimiter) : NULL;
        if (cut) {
            size_t length = (size_t)(cut - object->key) + strlen(wish->delimiter);
            text_add(&folders, "<CommonPrefixes><Prefix>%.*s</Prefix></CommonPrefixes>",
                     (int)length, object->key);
            index = past(store, object->key, length);
        } else {
            add_entry(body, object);
            index++;
        }
    }
    if (folders.length)
        text_append(body, folders.data, folders.length);
    free(folders.data);
    return index;
}

static int is_over(const struct store *store, const struct wish *wish, size_t index)
{
    return index >= store->count ||
           strncmp(store->objects[index].key, wish->prefix, strlen(wish->prefix));
}

static void tell_listing(const struct store *store, const struct request *request,
                         struct answer *answer)
{
    struct wish wish = {0};
    char token[32];
    size_t limit = 1000, told = 0, index;
    parameter(request->query, "prefix", wish.prefix, sizeof wish.prefix);
    parameter(request->query, "delimiter", wish.delimiter, sizeof wish.delimiter);
    if (parameter(request->query, "max-keys", wish.limit, sizeof wish.limit))
        limit = strtoul(wish.limit, NULL, 10) < 1000 ? strtoul(wish.limit, NULL, 10) : 1000;
    if (parameter(request->query, "continuation-token", token, sizeof token)) {
        index = strtoul(token, NULL, 10);
    } else {
        parameter(request->query, "start-after", wish.after, sizeof wish.after);
        index = store_find(store, wish.prefix, strlen(wish.prefix));
        size_t after = store_find(store, wish.after, strlen(wish.after));
        after += after < store->count && !strcmp(store->objects[after].key, wish.after);
        index = *wish.after && after > index ? after : index;
    }
    struct text *body = &answer->body;
    text_add(body,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
             "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
             "<Name>%s</Name><Prefix>%s</Prefix><MaxKeys>%zu</MaxKeys>",
             store->bucket, wish.prefix, limit);
    if (*wish.delimiter)
        text_add(body, "<Delimiter>%s</Delimiter>", wish.delimiter);
    if (strstr(request->query, "encoding-type=url"))
        TEXT(body, "<EncodingType>url</EncodingType>");
    index = add_page(store, &wish, index, limit, body, &told);
    text_add(body, "<KeyCount>%zu</KeyCount>", told);
    if (is_over(store, &wish, index))
        TEXT(body, "<IsTruncated>false</IsTruncated>");
    else
        text_add(body,
                 "<IsTruncated>true</IsTruncated>"
                 "<NextContinuationToken>%zu</NextContinuationToken>", index);
    TEXT(body, "</ListBucketResult>");
    head(answer, "200 OK", "application/xml", body->length);
    TEXT(&answer->head, "\r\n");
}

void answer_request(const struct store *store, const struct request *request,
                    struct answer *answer)
{
    char *path = request->path + 1, ignored[8];
    size_t bucket = strlen(store->bucket);
    decode(path);
    if (strncmp(path, store->bucket, bucket) || (path[bucket] && path[bucket] != '/'))
        return refuse(request, answer, "404 Not Found", "NoSuchBucket");
    const char *key = path[bucket] ? path + bucket + 1 : "";
    if (*key) {
        size_t found = store_find(store, key, strlen(key));
        if (found == store->count || strcmp(store->objects[found].key, key))
            return refuse(request, answer, "404 Not Found", "NoSuchKey");
        tell_object(request, &store->objects[found], answer);
    } else if (parameter(request->query, "location", ignored, sizeof ignored)) {
        TEXT(&answer->body, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint "
                            "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>");
        head(answer, "200 OK", "application/xml", answer->body.length);
        TEXT(&answer->head, "\r\n");
    } else if (request->is_head) {
        head(answer, "200 OK", "application/xml", 0);
        TEXT(&answer->head, "x-amz-bucket-region: us-east-1\r\n\r\n");
    } else {
        tell_listing(store, request, answer);
    }
}
