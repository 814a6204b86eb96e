// AtomicFile: a name has the old file or the whole new one, whatever happens in between.
#include "atomic_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "temporary_folder.h"

namespace instnorm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Names = std::vector<std::string>;

void save(const std::string& path, const std::string& bytes, bool replace = true) {
  AtomicFile file(path, replace);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

// What a call throws, without the path.
std::string error_of(const std::string& path, const std::function<void()>& call) {
  try {
    call();
  } catch (const std::runtime_error& error) {
    const std::string text = error.what(), start = "cannot write " + path + ": ";
    EXPECT_TRUE(text.starts_with(start)) << text;
    return text.substr(std::min(start.size(), text.size()));
  }
  return "nothing was thrown";
}

// Runs `body` in a process of its own and returns how it ended, as waitpid has it.
int in_child(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST(AtomicFile, HasItsNameOnlyAfterCommit) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a", false);
  file.write("one ", 4);
  file.write("two", 3);
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  EXPECT_THAT(folder.names(), SizeIs(1));
  file.commit();
  EXPECT_EQ(contents(folder / "a"), "one two");
  EXPECT_EQ(folder.names(), Names{"a"});
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  put(folder / "a", "old");
  {
    AtomicFile file(folder / "a", true), other(folder / "b", true);
    file.write("new", 3);
    EXPECT_EQ(contents(folder / "a"), "old");
  }
  EXPECT_EQ(contents(folder / "a"), "old");
  EXPECT_EQ(folder.names(), Names{"a"});
}

TEST(AtomicFile, TakesBytesInAnyOrder) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a", false);
  EXPECT_TRUE(file.random_access());
  file.write("head", 4);
  file.write_at(8, "ef", 2);
  file.write_at(4, "ab", 2);
  file.write("AB", 2);  // write() goes on where write() stopped
  file.write_at(12, "", 0);
  file.commit();
  EXPECT_EQ(contents(folder / "a"), std::string("headAB\0\0ef", 10));
}

TEST(AtomicFile, ModeFollowsTheUmask) {
  const TemporaryFolder folder;
  for (const mode_t mask : {022u, 027u, 077u, 000u}) {
    const mode_t before = umask(mask);
    save(folder / "a", "x");
    umask(before);
    struct stat status{};
    ASSERT_EQ(stat((folder / "a").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0666u & ~mask);
  }
}

TEST(AtomicFile, WithoutReplaceAnExistingFileStays) {
  const TemporaryFolder folder;
  put(folder / "a", "old");
  EXPECT_EQ(error_of(folder / "a", [&] { AtomicFile(folder / "a", false); }), "File exists");

  // And one that appears while the new one is written.
  AtomicFile file(folder / "b", false);
  file.write("new", 3);
  put(folder / "b", "other");
  EXPECT_EQ(error_of(folder / "b", [&] { file.commit(); }), "File exists");
  EXPECT_EQ(contents(folder / "a"), "old");
  EXPECT_EQ(contents(folder / "b"), "other");
  EXPECT_THAT(folder.names(), ElementsAre("a", "b"));
}

TEST(AtomicFile, WithoutReplaceOneOfManyWritersWins) {
  const TemporaryFolder folder;
  for (int round = 0; round < 20; ++round) {
    const std::string path = folder / std::to_string(round);
    std::atomic<int> winners{0}, losers{0}, winner{-1};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        try {
          save(path, std::to_string(i), false);
          ++winners;
          winner = i;
        } catch (const std::runtime_error&) {
          ++losers;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(losers, 7);
    EXPECT_EQ(contents(path), std::to_string(winner));
  }
  EXPECT_THAT(folder.names(), SizeIs(20));
}

TEST(AtomicFile, ReplacesWhatALinkLeadsTo) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "far");
  put(folder / "far/a", "old");
  std::filesystem::create_symlink("far/a", folder / "link");
  std::filesystem::create_symlink(folder / "link", folder / "chain");
  std::filesystem::create_symlink("far/new", folder / "dangling");

  save(folder / "chain", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "chain"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_FALSE(std::filesystem::is_symlink(folder / "far/a"));
  EXPECT_EQ(contents(folder / "far/a"), "new");
  EXPECT_EQ(error_of(folder / "link", [&] { save(folder / "link", "x", false); }), "File exists");

  save(folder / "dangling", "made", false);
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "dangling"));
  EXPECT_EQ(contents(folder / "far/new"), "made");
}

TEST(AtomicFile, SaysWhyAPathCannotBeWritten) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "folder");
  std::filesystem::create_symlink("loop", folder / "loop");
  put(folder / "file", "x");
  const std::pair<std::string, std::string> cases[] = {
      {"", "No such file or directory"},
      {std::string("a\0b", 3), "Invalid argument"},
      {folder / "none/a", "No such file or directory"},
      {folder / "new/", "No such file or directory"},
      {folder / "folder", "Is a directory"},
      {folder / "folder/", "Is a directory"},
      {folder / "file/a", "Not a directory"},
      {folder / "loop", "Too many levels of symbolic links"},
      {folder / std::string(300, 'a'), "File name too long"},
      {"/dev/fd/987654", "Bad file descriptor"}};
  for (const auto& [path, reason] : cases) {
    EXPECT_EQ(error_of(path.c_str(), [&] { AtomicFile(path, true); }), reason) << path;
  }
  EXPECT_THAT(folder.names(), ElementsAre("file", "folder", "loop"));
}

TEST(AtomicFile, RespectsWriteProtection) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "locked");
  put(folder / "a", "old");
  chmod(folder.path().c_str(), 0777);
  chmod((folder / "a").c_str(), 0444);
  chmod((folder / "locked").c_str(), 0555);
  // The superuser may write anywhere, so somebody else tries.
  const int status = in_child([&] {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
    const bool right =
        error_of(folder / "a", [&] { save(folder / "a", "x"); }) == "Permission denied" &&
        error_of(folder / "locked/b", [&] { save(folder / "locked/b", "x"); }) ==
            "Permission denied";
    _exit(right ? 0 : 1);
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(contents(folder / "a"), "old");
}

TEST(AtomicFile, ADiskThatIsFullLeavesTheOldFile) {
  const TemporaryFolder folder;
  put(folder / "a", "old");
  (void)signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{100'000, before.rlim_max};
  const std::string bytes(60'000, 'x');
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string error, later;
  {
    AtomicFile file(folder / "a", true);
    file.write(bytes.data(), bytes.size());
    // 40 000 bytes of these still fit: a short write, then the error.
    error = error_of(folder / "a", [&] { file.write(bytes.data(), bytes.size()); });
    later = error_of(folder / "a", [&] { file.commit(); });
  }
  setrlimit(RLIMIT_FSIZE, &before);
  (void)signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(error, "File too large");
  EXPECT_NE(later, "nothing was thrown");
  EXPECT_EQ(contents(folder / "a"), "old");
  EXPECT_EQ(folder.names(), Names{"a"});
}

TEST(AtomicFile, WritesDevicesStraightThrough) {
  for (const bool replace : {true, false}) {
    EXPECT_NO_THROW(save("/dev/null", "x", replace));
    EXPECT_EQ(error_of("/dev/full", [&] { save("/dev/full", "x", replace); }),
              "No space left on device");
  }
}

TEST(AtomicFile, WritesAPipeStraightThroughAndInOrder) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  const int reader = open((folder / "pipe").c_str(), O_RDWR);
  {
    AtomicFile file(folder / "pipe", false);
    EXPECT_FALSE(file.random_access());
    file.write_at(0, "ab", 2);
    file.write("cd", 2);
    file.write_at(4, "ef", 2);
    EXPECT_EQ(error_of(folder / "pipe", [&] { file.write_at(2, "x", 1); }), "Illegal seek");
  }
  char buffer[16];
  EXPECT_EQ(std::string(buffer, static_cast<std::size_t>(read(reader, buffer, sizeof buffer))),
            "abcdef");
  close(reader);
  EXPECT_EQ(folder.names(), Names{"pipe"});
}

TEST(AtomicFile, AppendsToADescriptorThatIsNamed) {
  const TemporaryFolder folder;
  put(folder / "log", "before ");
  const int fd = open((folder / "log").c_str(), O_WRONLY | O_APPEND);
  save("/dev/fd/" + std::to_string(fd), "after", false);
  EXPECT_NE(fcntl(fd, F_GETFD), -1) << "the caller's descriptor was closed";
  close(fd);
  EXPECT_EQ(contents(folder / "log"), "before after");
}

TEST(AtomicFile, FinishesShortAndInterruptedWrites) {
  for (const int flags : {0, O_NONBLOCK}) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    fcntl(ends[1], F_SETFL, flags);
    std::string bytes(3'000'000, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 % 251);

    // Without SA_RESTART the alarm ends a write that waits.
    struct sigaction action{};
    action.sa_handler = [](int) {};
    sigaction(SIGALRM, &action, nullptr);
    const itimerval often{{0, 500}, {0, 500}}, never{};
    setitimer(ITIMER_REAL, &often, nullptr);

    std::string got;
    std::thread reader([&] {
      sigset_t alarm;
      sigemptyset(&alarm);
      sigaddset(&alarm, SIGALRM);
      pthread_sigmask(SIG_BLOCK, &alarm, nullptr);
      std::vector<char> buffer(50'000);
      ssize_t n = 0;
      while ((n = read(ends[0], buffer.data(), buffer.size())) > 0) {
        got.append(buffer.data(), static_cast<std::size_t>(n));
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
    EXPECT_NO_THROW(save("/dev/fd/" + std::to_string(ends[1]), bytes));
    setitimer(ITIMER_REAL, &never, nullptr);
    (void)signal(SIGALRM, SIG_DFL);
    close(ends[1]);  // the end of file for the reader
    reader.join();
    EXPECT_TRUE(got == bytes);
    close(ends[0]);
  }
}

TEST(AtomicFile, AKilledProcessLeavesTheOldFileOrNone) {
  const TemporaryFolder folder;
  put(folder / "old", "old");
  for (const char* name : {"old", "none"}) {
    const int status = in_child([&] {
      AtomicFile file(folder / name, true);
      file.write("half", 4);
      (void)raise(SIGKILL);
    });
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  EXPECT_EQ(contents(folder / "old"), "old");
  EXPECT_FALSE(std::filesystem::exists(folder / "none"));
}

TEST(AtomicFile, ASignalHandlerRemovesWhatIsUnfinished) {
  const TemporaryFolder folder;
  put(folder / "old", "old");
  const int status = in_child([&] {
    (void)signal(SIGINT, [](int) {
      remove_unfinished_files();
      _exit(130);
    });
    save(folder / "done", "done");
    std::vector<std::unique_ptr<AtomicFile>> files;
    for (int i = 0; i < 100; ++i) {
      files.push_back(std::make_unique<AtomicFile>(folder / std::to_string(i), true));
      files.back()->write("half", 4);
      if (i % 3 == 0) files.pop_back();  // places in the list are used again
    }
    AtomicFile old(folder / "old", true);
    (void)raise(SIGINT);
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 130);
  EXPECT_THAT(folder.names(), ElementsAre("done", "old"));
  EXPECT_EQ(contents(folder / "old"), "old");
}

TEST(AtomicFile, WhatWasRemovedCannotBeCommitted) {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder / "a", true);
    remove_unfinished_files();
    EXPECT_THAT(folder.names(), IsEmpty());
    file.write("x", 1);
    EXPECT_EQ(error_of(folder / "a", [&] { file.commit(); }), "No such file or directory");
  }
  save(folder / "a", "next");
  remove_unfinished_files();
  EXPECT_EQ(contents(folder / "a"), "next");
}

TEST(AtomicFile, DifferentFilesInDifferentThreads) {
  const TemporaryFolder folder;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        AtomicFile given_up(folder / (name + "-not"), true);
        save(folder / name, name);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const Names names = folder.names();
  EXPECT_THAT(names, SizeIs(100));
  for (const std::string& name : names) EXPECT_EQ(contents(folder / name), name);
}

}  // namespace
}  // namespace instnorm
