/* HTTP/1.1 over epoll, one thread: requests in, answers out, each after a fixed delay.
 *
 *     light_s3 MANIFEST POOL BUCKET DELAY_MS PORT
 *
 * Listens on this port of 127.0.0.1 (0: a free one) and prints it. Ends when its standard input
 * does.
 */
#define _GNU_SOURCE
#include "light_s3.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 16 * 1024, EVENTS = 256, SLICES = 8 };

struct connection {
    int socket, busy, waits_to_write, gone;
    size_t filled, sent_head, sent_body;
    struct answer answer;
    double due;
    struct connection *next;
    char in[REQUEST_BYTES + 1];
};

static struct store store;
static double delay;
static int poll_fd;
static struct connection *first, *last; /* those whose answers are not due yet, in their order */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void end(struct connection *connection)
{
    close(connection->socket);
    free(connection->answer.head.data);
    free(connection->answer.body.data);
    free(connection);
}

static void watch(struct connection *connection, int writing)
{
    struct epoll_event event = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = connection};
    if (writing != connection->waits_to_write)
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, connection->socket, &event);
    connection->waits_to_write = writing;
}

/* What is still to be sent, as the kernel takes it: the head, then the body. */
static int slices(const struct connection *connection, struct iovec *vector)
{
    const struct answer *answer = &connection->answer;
    int count = 0;
    if (connection->sent_head < answer->head.length)
        vector[count++] = (struct iovec){answer->head.data + connection->sent_head,
                                         answer->head.length - connection->sent_head};
    if (connection->sent_body < answer->body.length)
        vector[count++] = (struct iovec){answer->body.data + connection->sent_body,
                                         answer->body.length - connection->sent_body};
    uint64_t left = answer->left, from = answer->from;
    while (left && count < SLICES) {
        size_t start = (answer->object->offset + from) % store.pool_size;
        size_t length = store.pool_size - start < left ? store.pool_size - start : left;
        vector[count++] = (struct iovec){(void *)(store.pool + start), length};
        left -= length, from += length;
    }
    return count;
}

static void note_sent(struct connection *connection, size_t sent)
{
    struct answer *answer = &connection->answer;
    size_t part = answer->head.length - connection->sent_head;
    part = part < sent ? part : sent;
    connection->sent_head += part, sent -= part;
    part = answer->body.length - connection->sent_body;
    part = part < sent ? part : sent;
    connection->sent_body += part, sent -= part;
    answer->from += sent, answer->left -= sent;
}

/* 1 when all is sent, 0 when the socket is full, -1 when the client has gone. */
static int send_some(struct connection *connection)
{
    struct iovec vector[SLICES];
    for (;;) {
        struct msghdr message = {.msg_iov = vector};
        message.msg_iovlen = (size_t)slices(connection, vector);
        if (!message.msg_iovlen)
            return 1;
        ssize_t sent = sendmsg(connection->socket, &message, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        note_sent(connection, (size_t)sent);
    }
}

static void forget_answer(struct connection *connection)
{
    struct answer *answer = &connection->answer;
    answer->head.length = answer->body.length = 0;
    if (answer->body.room > 1024 * 1024) {
        free(answer->body.data);
        answer->body = (struct text){0};
    }
    answer->object = NULL;
    answer->left = 0;
    connection->sent_head = connection->sent_body = 0;
    connection->busy = 0;
}

static int begin(struct connection *connection);

/* Sends as much as goes; with all sent, the next request that is there already. */
static void go_on(struct connection *connection)
{
    for (;;) {
        int done = send_some(connection);
        if (done < 0)
            return end(connection);
        if (!done)
            return watch(connection, 1);
        forget_answer(connection);
        if (connection->gone)
            return end(connection);
        watch(connection, 0);
        if (!begin(connection) || delay > 0)
            return;
    }
}

static void put_off(struct connection *connection)
{
    connection->due = now() + delay;
    connection->next = NULL;
    if (last)
        last->next = connection;
    else
        first = connection;
    last = connection;
}

/* Answers the first whole request in the buffer; 0 when there is none. */
static int begin(struct connection *connection)
{
    connection->in[connection->filled] = '\0';
    char *stop = strstr(connection->in, "\r\n\r\n");
    if (!stop)
        return 0;
    size_t used = (size_t)(stop - connection->in) + 4;
    stop[2] = '\0';
    char *line_end = strstr(connection->in, "\r\n");
    *line_end = '\0';
    char *path = strchr(connection->in, ' ') + 1;
    char *path_end = strchr(path, ' ');
    if (path_end)
        *path_end = '\0';
    char *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    struct request request = {.is_head = !strncmp(connection->in, "HEAD ", 5),
                              .path = path,
                              .query = query ? query : "",
                              .headers = line_end + 2};
    answer_request(&store, &request, &connection->answer);
    memmove(connection->in, connection->in + used, connection->filled - used);
    connection->filled -= used;
    connection->busy = 1;
    if (delay > 0)
        put_off(connection);
    return 1;
}

static void hear(struct connection *connection)
{
    ssize_t got = recv(connection->socket, connection->in + connection->filled,
                       REQUEST_BYTES - connection->filled, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        connection->gone = 1;
        if (!connection->busy)
            end(connection);
        else /* its answer is put off, and its end with it */
            epoll_ctl(poll_fd, EPOLL_CTL_DEL, connection->socket, NULL);
        return;
    }
    connection->filled += (size_t)got;
    if (!connection->busy && begin(connection) && !(delay > 0))
        go_on(connection);
}

static void greet(int listener)
{
    int socket, yes = 1;
    while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        connection->socket = socket;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, socket, &event);
    }
}

static int listen_on_loopback(int port)
{
    int yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1024) ||
        getsockname(listener, (struct sockaddr *)&address, &length)) {
        perror("listen");
        exit(2);
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static int milliseconds_to_first(void)
{
    double left = first ? (first->due - now()) * 1000 : 0;
    return first ? (left > 0 ? (int)left + 1 : 0) : -1;
}

static void send_what_is_due(void)
{
    double time = now();
    while (first && first->due <= time) {
        struct connection *connection = first;
        first = first->next;
        if (!first)
            last = NULL;
        go_on(connection);
    }
}

int main(int count, char **given)
{
    struct epoll_event events[EVENTS];
    if (count != 6) {
        fprintf(stderr, "light_s3 MANIFEST POOL BUCKET DELAY_MS PORT\n");
        return 64;
    }
    store = store_open(given[1], given[2], given[3]);
    delay = atof(given[4]) / 1000;
    int listener = listen_on_loopback(atoi(given[5])), input = STDIN_FILENO;
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    int *watched[] = {&listener, &input};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = watched[i]};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, *watched[i], &event);
    }
    for (;;) {
        int ready = epoll_wait(poll_fd, events, EVENTS, milliseconds_to_first());
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].data.ptr == &listener)
                greet(listener);
            else if (events[i].data.ptr == &input)
                return 0;
            else if (connection->waits_to_write)
                go_on(connection);
            else
                hear(connection);
        }
        send_what_is_due();
    }
}
