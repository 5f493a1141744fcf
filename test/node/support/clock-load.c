/*
 * clock-load THREADS OFFSET_NS SIGNAL_US PAUSE_US: reads CLOCK_REALTIME, gettimeofday() and time() as fast as it can in each thread, and holds every
 * value against the kernel's own clock: it must be native or off by exactly OFFSET_NS. SIGNAL_US, if not 0, is how often some thread gets a signal,
 * whose handler reads the clock and every now and then sleeps on top of what it interrupted. PAUSE_US, if not 0, is how long threads sleep in between.
 * Says "ready", and after SIGTERM: {"native":N,"skewed":N,"wrong":N,"signals":N}.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000ll
#define BATCH 200

static long long offset_ns, native_count, skewed_count, wrong_count, signal_count;
static int pause_us;
static volatile int is_over;

static long long kernel_ns(int clock) {
  struct timespec t;
  syscall(SYS_clock_gettime, clock, &t);
  return t.tv_sec * BILLION + t.tv_nsec;
}

static long long whole_seconds(long long ns) { return ns >= 0 ? ns / BILLION : -((-ns + BILLION - 1) / BILLION); }

static void on_signal(int number) {
  struct timespec t, nap = {0, 3000000};
  clock_gettime(CLOCK_REALTIME, &t);
  if (__sync_add_and_fetch(&signal_count, 1) % 64 == 0) nanosleep(&nap, NULL);
}

static void on_end(int number) { is_over = 1; }

static void *read_clocks(void *seed) {
  unsigned state = (unsigned)(long)seed;
  long long values[BATCH], native = 0, skewed = 0, wrong = 0;
  /* Handlers run on a stack of their own, as Go has it, in every other thread. */
  if (state % 2) {
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, NULL);
  }
  while (!is_over) {
    int way = rand_r(&state) % 8;
    int clock = way == 1 ? 5 : 0;
    long long grain = way == 2 ? 1000 : 1, before = kernel_ns(clock);
    for (int i = 0; i < BATCH; i++) {
      if (way == 1) {
        values[i] = time(NULL);
      } else if (way == 2) {
        struct timeval t = {-1, -1};
        gettimeofday(&t, NULL);
        wrong += t.tv_usec < 0 || t.tv_usec > 999999;
        values[i] = t.tv_sec * BILLION + t.tv_usec * 1000ll;
      } else {
        struct timespec t = {-1, -1};
        clock_gettime(CLOCK_REALTIME, &t);
        wrong += t.tv_nsec < 0 || t.tv_nsec > 999999999;
        values[i] = t.tv_sec * BILLION + t.tv_nsec;
      }
    }
    long long after = kernel_ns(clock);
    for (int i = 0; i < BATCH; i++) {
      long long value = values[i];
      if (way == 1) {
        if (value >= whole_seconds(before) && value <= whole_seconds(after)) native++;
        else if (value >= whole_seconds(before + offset_ns) && value <= whole_seconds(after + offset_ns)) skewed++;
        else wrong++;
      } else if (value > before - grain && value <= after) native++;
      else if (value > before + offset_ns - grain && value <= after + offset_ns) skewed++;
      else wrong++;
    }
    if (pause_us) usleep(pause_us);
  }
  __sync_fetch_and_add(&native_count, native);
  __sync_fetch_and_add(&skewed_count, skewed);
  __sync_fetch_and_add(&wrong_count, wrong);
  return NULL;
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  int threads = atoi(arguments[1]), signal_us = atoi(arguments[3]);
  offset_ns = atoll(arguments[2]);
  pause_us = atoi(arguments[4]);
  signal(SIGTERM, on_end);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
  sigaction(SIGUSR1, &action, NULL);
  pthread_t *all = malloc(threads * sizeof *all);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  for (long i = 0; i < threads; i++)
    if (pthread_create(&all[i], &attributes, read_clocks, (void *)(i + 1)) != 0) return 3;
  printf("ready\n");
  fflush(stdout);
  unsigned state = 7;
  while (!is_over) {
    if (signal_us) {
      usleep(signal_us);
      pthread_kill(all[rand_r(&state) % threads], SIGUSR1);
    } else {
      usleep(10000);
    }
  }
  for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
  printf("{\"native\":%lld,\"skewed\":%lld,\"wrong\":%lld,\"signals\":%lld}\n", native_count, skewed_count, wrong_count, signal_count);
}
