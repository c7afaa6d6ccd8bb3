/*
 * Times the start of a server: from its exec to its first 200, in nanoseconds on standard output.
 *
 *     start PORT COMMAND [ARGUMENT]...
 *
 * The server must listen on 127.0.0.1:PORT and answer within 20 s; then its process group is ended. Until it listens,
 * the client sleeps between two tries; then it waits in recv. A busy client would slow the server down.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE = 20 /* s */, BETWEEN_TRIES = 20000 /* ns */ };

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

static volatile pid_t server;

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void too_late(int signal)
{
    (void)signal;
    kill(-server, SIGKILL);
    _exit(1);
}

/* Starts the server, in a process group of its own; returns the time of that. */
static long long start(char **command)
{
    static volatile long long executed; /* vfork: the child writes to our memory, and we go on when it has executed */
    server = vfork();
    if (server == 0) {
        setsid();
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* if we are killed, it ends, too */
        dup2(2, 1); /* we print only the time */
        executed = now();
        execvp(command[0], command);
        _exit(127);
    }
    return executed;
}

/* One try; returns whether the answer was a 200. */
static int ask(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    char answer[16] = "";
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int answered = client >= 0
        && connect(client, (struct sockaddr *)&address, sizeof address) == 0
        && send(client, request, sizeof request - 1, MSG_NOSIGNAL) > 0
        && recv(client, answer, sizeof answer - 1, MSG_WAITALL) > 0
        /* Python's servers speak HTTP/1.0. */
        && strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200 ", 5) == 0;
    close(client);
    return answered;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: start PORT COMMAND [ARGUMENT]...\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1); /* otherwise a sleep lasts 50 µs longer */
    signal(SIGALRM, too_late);
    alarm(DEADLINE);
    long long executed = start(argv + 2);
    while (!ask(atoi(argv[1]))) {
        if (waitpid(server, NULL, WNOHANG) != 0)
            return 1; /* it has ended, or could not be started */
        nanosleep(&(struct timespec){ .tv_nsec = BETWEEN_TRIES }, NULL);
    }
    printf("%lld\n", now() - executed);

    alarm(DEADLINE);
    kill(-server, SIGTERM);
    return waitpid(server, NULL, 0) != server;
}
