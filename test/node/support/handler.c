/*
 * Reads the clock for ever. SIGUSR1's handler says "h" and stays until it gets a byte; with an argument it does so on a stack of its own.
 */
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void on_signal(int number) {
  char byte;
  if (write(1, "h\n", 2) != 2 || read(0, &byte, 1) != 1) _exit(1);
}

int main(int count, char **arguments) {
  struct timespec t;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = count > 1 ? SA_ONSTACK : 0};
  stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
  sigaltstack(&stack, NULL);
  sigaction(SIGUSR1, &action, NULL);
  if (write(1, "ready\n", 6) != 6) return 1;
  for (;;) clock_gettime(CLOCK_REALTIME, &t);
}
