#!/usr/bin/env python3
"""-help, -version, and virtio-debugd(1), which has an entry for each option of -help."""

import re
import shutil
import subprocess

from vds import ROOT, daemon_path, equal, run

PAGE = ROOT / "docs" / "virtio-debugd.1"


def output(*args):
    done = subprocess.run([daemon_path(), *args], capture_output=True, text=True, timeout=20)
    equal((done.returncode, done.stderr), (0, ""), args)
    return done.stdout


def options_of_help():
    return re.findall(r"^  -(\S+)", output("-help"), re.M)


def options_of_page():
    names = re.findall(r'^\.BI? \\-(\S+)', PAGE.read_text(), re.M)
    return [name.replace("\\-", "-") for name in names]


def test_page_has_every_option():
    equal(sorted(set(options_of_page())), sorted(options_of_help()))


def test_options_are_listed_once():
    found = options_of_help()
    equal(len(found), len(set(found)))
    assert len(found) > 40


def test_help_has_one_text():
    equal(output("--help"), output("-help"))
    equal(output("-h", "-no-such-option"), output("-help"))


def test_version_is_that_of_the_greeting():
    version = re.fullmatch(r"(virtio-debugd) version (\S+), .*\n", output("-version"))
    greeting = subprocess.run([daemon_path(), "-qmp", "stdio"], text=True, timeout=20,
                              input='{"execute":"qmp_capabilities"}{"execute":"quit"}',
                              stdout=subprocess.PIPE)
    package = re.search(r'"package": "([^"]*)"', greeting.stdout)
    equal(package[1], f"{version[1]} {version[2]}")


def test_page_is_clean():
    if not shutil.which("groff"):
        return  # the page's content was checked above
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", str(PAGE)], capture_output=True,
                          text=True, timeout=20)
    equal((done.returncode, done.stderr), (0, ""))


run(test_page_has_every_option, test_options_are_listed_once, test_help_has_one_text,
    test_version_is_that_of_the_greeting, test_page_is_clean)
