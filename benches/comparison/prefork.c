/*
 * The limit that benches/compare measures against: a prefork HTTP server with a constant answer.
 *
 *     prefork PORT WORKERS      binds 127.0.0.1:PORT
 *     prefork --fd N WORKERS    serves a listening socket that the parent process opened
 *
 * It accepts the way hospital does (see docs/ARCHITECTURE.md): one shared non-blocking listener with
 * TCP_DEFER_ACCEPT, an epoll set for each worker, EPOLLEXCLUSIVE, one accept for each wake-up, read at once, registered
 * only if the connection has to wait. It leaves out everything that makes a daemon: checks, deadlines, the replacement
 * of dead workers, request bodies. With one worker there is no master: the process itself serves.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_HEAD = 4096, MAX_EVENTS = 64, MAX_WORKERS = 64 };

/* What a connection has sent so far. It lives on the heap only while the connection waits in the epoll set. */
struct connection {
    int fd;
    size_t filled;
    char head[MAX_HEAD + 1]; /* one more, so that it can always be read as a string */
};

enum verdict { WAIT, CLOSE };

struct answer {
    char bytes[1024];
    size_t length;
};

static struct answer keep_alive_answer, close_answer;

static const char body[] =
    "{\n"
    "    \"status\": \"pass\",\n"
    "    \"details\": [\n"
    "        {\n"
    "            \"test\": \"Health checks are collected.\",\n"
    "            \"status\": \"pass\"\n"
    "        }\n"
    "    ],\n"
    "    \"summary\": {\n"
    "        \"skip\": 0,\n"
    "        \"pass\": 1,\n"
    "        \"expected_failure\": 0,\n"
    "        \"error\": 0,\n"
    "        \"fail\": 0,\n"
    "        \"total\": 1,\n"
    "        \"unexpected_success\": 0\n"
    "    }\n"
    "}\n";

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static void compose(struct answer *answer, const char *connection_header)
{
    answer->length = (size_t)snprintf(answer->bytes, sizeof answer->bytes,
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        "Content-Length: %zu\r\n"
        "Server: the limit\r\n"
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        "Vary: Accept\r\n"
        "X-Request-Id: 1000000-1000000\r\n"
        "%s\r\n%s", sizeof body - 1, connection_header, body);
}

/* ---- connections ---- */

/* Answers the one request that `head` (a string) holds. */
static enum verdict answer(int fd, const char *head)
{
    const char *line_end = strstr(head, "\r\n");
    int old = line_end - head >= 8 && memcmp(line_end - 8, "HTTP/1.0", 8) == 0;
    int closing = old || strcasestr(line_end, "\r\nConnection: close");
    const struct answer *reply = closing ? &close_answer : &keep_alive_answer;

    /* A client that lets its receive buffer fill up is cut off: its answer is not worth a write queue here. */
    ssize_t sent = send(fd, reply->bytes, reply->length, MSG_NOSIGNAL);
    return closing || sent != (ssize_t)reply->length ? CLOSE : WAIT;
}

/* Reads what is there, and answers each request that is complete. */
static enum verdict serve(struct connection *connection)
{
    ssize_t got = read(connection->fd, connection->head + connection->filled, MAX_HEAD - connection->filled);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return WAIT;
    if (got <= 0)
        return CLOSE;
    connection->filled += (size_t)got;
    connection->head[connection->filled] = '\0';

    char *end;
    while ((end = strstr(connection->head, "\r\n\r\n"))) {
        end[2] = '\0'; /* ends this request's string; the two bytes after it are the rest of the blank line */
        if (answer(connection->fd, connection->head) == CLOSE)
            return CLOSE;
        size_t used = (size_t)(end + 4 - connection->head);
        connection->filled -= used;
        memmove(connection->head, end + 4, connection->filled + 1);
    }
    return connection->filled < MAX_HEAD ? WAIT : CLOSE;
}

/* Accepts one connection: other workers that are woken take the next ones, so the load spreads. */
static void accept_one(int poll, int listener)
{
    static struct connection newcomer; /* most are answered and closed without the heap or the epoll set */
    newcomer.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    newcomer.filled = 0;
    if (newcomer.fd < 0)
        return; /* another worker was faster, or the client has gone */

    /* TCP_DEFER_ACCEPT: a connection that is accepted has nearly always sent its request already. */
    if (serve(&newcomer) == CLOSE) {
        close(newcomer.fd);
        return;
    }
    struct connection *waiting = malloc(sizeof *waiting);
    if (!waiting)
        die("malloc");
    waiting->fd = newcomer.fd;
    waiting->filled = newcomer.filled;
    memcpy(waiting->head, newcomer.head, newcomer.filled);
    struct epoll_event readable = { .events = EPOLLIN, .data.ptr = waiting };
    if (epoll_ctl(poll, EPOLL_CTL_ADD, waiting->fd, &readable) < 0)
        die("epoll_ctl(connection)");
}

static _Noreturn void work(int listener)
{
    int poll = epoll_create1(EPOLL_CLOEXEC);
    /* EPOLLEXCLUSIVE: a new connection wakes one worker and not all of them. The listener is the event without data. */
    struct epoll_event acceptable = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = NULL };
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &acceptable) < 0)
        die("epoll(listener)");

    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int count = epoll_wait(poll, events, MAX_EVENTS, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) {
                accept_one(poll, listener);
            } else if (serve(connection) == CLOSE) {
                close(connection->fd); /* this takes it out of the epoll set too */
                free(connection);
            }
        }
    }
}

/* ---- processes ---- */

static int bind_loopback(int port)
{
    int on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0)
        die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind");
    return listener;
}

/* Forks the workers, waits to be told to stop, and stops them. */
static void supervise(int listener, int workers)
{
    pid_t pids[MAX_WORKERS], master = getpid();
    sigset_t awaited, before;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &awaited, &before); /* before the forks: a signal that comes now is not lost */

    for (int i = 0; i < workers; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            die("fork");
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != master)
                _exit(1); /* the master died before prctl could tell the kernel to watch it */
            sigprocmask(SIG_SETMASK, &before, NULL);
            work(listener);
        }
    }
    int received;
    sigwait(&awaited, &received); /* SIGCHLD too: a limit with a worker missing would be no limit */
    for (int i = 0; i < workers; i++)
        kill(pids[i], SIGTERM);
    while (wait(NULL) > 0)
        ;
    exit(received == SIGCHLD);
}

int main(int argc, char **argv)
{
    int inherited = argc == 4 && strcmp(argv[1], "--fd") == 0;
    int workers = argc > 2 ? atoi(argv[argc - 1]) : 0;
    if ((argc != 3 && !inherited) || workers < 1 || workers > MAX_WORKERS) {
        fprintf(stderr, "usage: prefork PORT|--fd N WORKERS (1 to %d)\n", MAX_WORKERS);
        return 2;
    }
    compose(&keep_alive_answer, "");
    compose(&close_answer, "Connection: close\r\n");

    int listener = inherited ? atoi(argv[2]) : bind_loopback(atoi(argv[1]));
    int seconds = 1;
    setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
    /* Non-blocking: several workers may be woken for one connection, and only one of them gets it. */
    if (fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK) < 0 || listen(listener, SOMAXCONN) < 0)
        die("listen");

    if (workers > 1)
        supervise(listener, workers);
    work(listener);
}
