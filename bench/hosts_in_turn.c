/* Loaded into h2load: gives each of its requests the next host of a list, where h2load itself only knows one.
 *
 * HOSTS names a file of hosts, one a line, all of one length, that of the host in h2load's URI. Over HTTP/2 the
 * request's :authority is replaced as it is submitted, over HTTP/1.1 the Host field as it is written.
 *
 * SOURCES names IPv4 addresses of this machine, with commas: each connection comes from the next one of them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef struct {
  uint8_t *name, *value;
  size_t namelen, valuelen;
  uint8_t flags;
} field; /* nghttp2_nv */

enum { LONGEST = 256, MOST = 200000, FIELDS = 64, ADDRESSES = 1024 };
static char (*hosts)[LONGEST];
static size_t count, length, turn;
static int32_t (*submit)(void *, const void *, const field *, size_t, const void *, void *);
static int (*tls_write)(void *, const void *, int);
static struct in_addr sources[ADDRESSES];
static size_t source_count, source_turn;
static int (*plain_connect)(int, const struct sockaddr *, socklen_t);

__attribute__((constructor)) static void load(void) {
  FILE *file = getenv("HOSTS") ? fopen(getenv("HOSTS"), "r") : NULL;
  hosts = calloc(MOST, LONGEST);
  while (file && count < MOST && fgets(hosts[count], LONGEST, file)) {
    hosts[count][strcspn(hosts[count], "\n")] = 0;
    size_t size = strlen(hosts[count++]);
    if (!size || (length && size != length)) count = MOST + 1;
    length = size;
  }
  if (!count || count > MOST) {
    fprintf(stderr, "hosts_in_turn: HOSTS names no file of hosts of one length\n");
    exit(2);
  }
  char *listed = getenv("SOURCES") ? strdup(getenv("SOURCES")) : NULL;
  for (char *rest = listed, *each; listed && (each = strtok_r(rest, ",", &rest));)
    if (source_count == ADDRESSES || inet_pton(AF_INET, each, &sources[source_count++]) != 1) {
      fprintf(stderr, "hosts_in_turn: SOURCES: %s is no IPv4 address, or there are too many\n", each);
      exit(2);
    }
  plain_connect = dlsym(RTLD_NEXT, "connect");
  submit = dlsym(RTLD_NEXT, "nghttp2_submit_request");
  tls_write = dlsym(RTLD_NEXT, "SSL_write");
}

static char *next(void) { return hosts[__atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED) % count]; }

int32_t nghttp2_submit_request(void *session, const void *priority, const field *fields, size_t held,
                               const void *body, void *user) {
  field changed[FIELDS];
  if (held > FIELDS) abort();
  memcpy(changed, fields, held * sizeof *fields);
  for (size_t at = 0; at < held; at++)
    if (changed[at].namelen == 10 && !memcmp(changed[at].name, ":authority", 10)) {
      changed[at].value = (uint8_t *)next();
      changed[at].valuelen = length;
    }
  return submit(session, priority, changed, held, body, user);
}

int connect(int fd, const struct sockaddr *to, socklen_t size) {
  if (source_count && to->sa_family == AF_INET) {
    struct sockaddr_in from = {.sin_family = AF_INET};
    /* Its port is chosen as it connects: so one may stand for many connections, to another port each. */
    int late = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
    from.sin_addr = sources[__atomic_fetch_add(&source_turn, 1, __ATOMIC_RELAXED) % source_count];
    if (bind(fd, (struct sockaddr *)&from, sizeof from)) {
      perror("hosts_in_turn: SOURCES");
      exit(2);
    }
  }
  return plain_connect(fd, to, size);
}

int SSL_write(void *tls, const void *bytes, int size) {
  /* What isn't written is given again, perhaps with another host. */
  char *at = (char *)bytes, *end = at + size;
  while (size > 4 && end - at > 10 && (at = memmem(at, end - at, "\nHost: ", 7)) && end - at >= 7 + (long)length) {
    memcpy(at + 7, next(), length);
    at += 7;
  }
  return tls_write(tls, bytes, size);
}
