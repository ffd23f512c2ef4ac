/* Preloaded into a node: its fsync and fdatasync fail, hang or are slow while the file that
 * FSYNC_CONTROL names says so. Each call that is interfered with adds one byte to the file of that
 * name with ".seen" at its end.
 *
 *   fail      every call fails with EIO, and nothing is synced
 *   once      so does the next fdatasync; then the file is removed
 *   hang      calls do not return before the file changes
 *   slow MS   calls take so many milliseconds longer
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

/* What the control file says, or an empty string. */
static void read_control(const char *path, char *text, size_t room)
{
    ssize_t length = -1;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        length = read(file, text, room - 1);
        close(file);
    }
    text[length > 0 ? length : 0] = '\0';
}

static void note(const char *path)
{
    char seen[4096];
    if (snprintf(seen, sizeof seen, "%s.seen", path) >= (int)sizeof seen) return;
    int file = open(seen, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (write(file, "!", 1) != 1) {}
    close(file);
}

static int sync_file(long call, int file)
{
    char text[32];
    const char *path = getenv("FSYNC_CONTROL");
    if (path == NULL) return (int)syscall(call, file);
    read_control(path, text, sizeof text);
    int once = strncmp(text, "once", 4) == 0;
    if (once && call != SYS_fdatasync) return (int)syscall(call, file);
    if (text[0] != '\0') note(path);
    if (once) unlink(path);
    if (once || strncmp(text, "fail", 4) == 0) {
        errno = EIO;
        return -1;
    }
    if (strncmp(text, "slow ", 5) == 0) wait_ms(atol(text + 5));
    while (strncmp(text, "hang", 4) == 0) {
        wait_ms(10);
        read_control(path, text, sizeof text);
    }
    return (int)syscall(call, file);
}

int fsync(int file) { return sync_file(SYS_fsync, file); }
int fdatasync(int file) { return sync_file(SYS_fdatasync, file); }
