# shellcheck shell=bash
# The system: its kind and its processor, what it was installed from, WSL, and the tools every launcher needs.

# look_system: what this host is.
look_system() {
  look_machine
  look_release
  if [[ $SYSTEM == wsl ]]; then look_wsl; fi
  look_glibc
  look_python
  look_tools
}

# look_machine: whether there are wheels for it.
look_machine() {
  if [[ " $(matrix supported systems) " != *" $SYSTEM "* ]]; then
    problem system-unsupported "this system is $SYSTEM" "本机系统为 $SYSTEM" \
      "Linux, macOS, or Windows with WSL 2" "请使用 Linux、macOS，或 Windows + WSL 2"
  elif [[ " $(matrix supported machines) " != *" $MACHINE "* ]]; then
    problem machine-unsupported "no torch is published for a $MACHINE processor" "没有适合 $MACHINE 处理器的 torch" \
      "a host of $(matrix supported machines)" "请换用 $(matrix supported machines) 的主机"
  else
    ok system "$SYSTEM $MACHINE, kernel $KERNEL" "$SYSTEM $MACHINE，内核 $KERNEL"
  fi
}

# look_release: the distribution; on Kylin, what its Docker cannot unpack.
look_release() {
  local text name
  text=$(file /etc/os-release)
  if [[ -z $text ]]; then return; fi
  DISTRIBUTION=$(value ID "$text")
  name=$(value PRETTY_NAME "$text")
  ok release "$name" "$name"
  if [[ $DISTRIBUTION == kylin && -n $(command_of docker) ]]; then
    note kylin-images "on Kylin, docker pull may end with 'invalid tar header'" "麒麟系统上 docker pull 可能报 invalid tar header" \
      "pull on another host, docker save it to a file, and docker load that here" \
      "在其他主机 docker pull 后 docker save 成文件，再到本机 docker load"
  fi
}

# look_wsl: its version, where the clone lies, and drivers that belong to Windows alone.
look_wsl() {
  if [[ $KERNEL == *-Microsoft ]]; then # WSL 2 ends in microsoft-standard-WSL2
    problem wsl-1 "this is WSL 1, which runs no Linux kernel" "这是 WSL 1，没有真正的 Linux 内核" \
      "in Windows: wsl --set-version NAME 2" "在 Windows 中执行：wsl --set-version 发行版名 2"
  fi
  if [[ $(mounted "$PWD") =~ ^(9p|drvfs) ]]; then
    note wsl-windows-disk "the clone lies on a Windows disk, many times slower" "仓库放在 Windows 磁盘上，读写慢很多" \
      "clone it again below your home folder in Linux" "请把仓库克隆到 Linux 的家目录下"
  fi
  if compgen -G "$ROOT/usr/lib/*-linux-gnu/libcuda.so*" >/dev/null; then
    problem wsl-linux-driver "a Linux NVIDIA driver is installed inside WSL and hides that of Windows" \
      "WSL 内装了 Linux 版 NVIDIA 驱动，遮住了 Windows 的驱动" \
      "sudo apt-get remove --purge '^libnvidia-compute'; the driver is installed in Windows alone" \
      "sudo apt-get remove --purge '^libnvidia-compute'；驱动只装在 Windows 里"
  fi
}

# look_glibc: whether wheels load: they are built for one no newer than the host's.
look_glibc() {
  local least told
  least=$(matrix requirements glibc)
  if [[ $SYSTEM == macos ]]; then return; fi
  told=$(ask getconf GNU_LIBC_VERSION) || told=''
  if [[ $told != glibc\ [0-9]* ]]; then
    problem glibc-missing "this system has no glibc (Alpine?)" "本系统没有 glibc（Alpine？）" \
      "a distribution with glibc $least or newer, such as Debian, Ubuntu, openEuler" \
      "请使用带 glibc $least 以上的发行版，如 Debian、Ubuntu、openEuler"
  elif older "${told#glibc }" "$least"; then
    problem glibc-old "$told; torch's wheels need $least" "$told；torch 需要 $least 以上" \
      "a newer system, or a container: --runtime docker" "升级系统，或在容器中运行：--runtime docker"
  else
    ok glibc "$told" "$told"
  fi
}

# look_python: the first Python that may serve, and whether it can make environments.
look_python() {
  local name path version found=''
  for name in python3 python3.12 python3.11 python3.13 python3.10; do
    path=$(command_of "$name") || continue
    version=$(ask "$name" --version) || continue
    version=${version#Python }
    if [[ " $(matrix supported python) " == *" $(minor "$version") "* ]]; then
      can_make_environments "$path" "$version"
      return
    fi
    found+=" $version"
  done
  if [[ -n $found ]]; then
    problem python-old "Python$found; $(matrix supported python) are supported" "Python$found；支持 $(matrix supported python)" \
      "$(packages python3.11 python3.11)" "$(packages python3.11 python3.11)"
  else
    problem python-missing "there is no Python 3" "没有 Python 3" "$(packages python3 python3)" "$(packages python3 python3)"
  fi
}

# can_make_environments PATH VERSION: Debian keeps the venv module in a package of its own.
can_make_environments() {
  local library found=0
  for library in "${1%/bin/*}"/lib{,64}/python"$(minor "$2")"; do
    if [[ -d $library/ensurepip ]]; then found=2; elif [[ -f $library/os.py && $found == 0 ]]; then found=1; fi
  done
  if ((found == 1)); then
    problem python-no-venv "Python $2 has no venv module" "Python $2 没有 venv 模块" \
      "sudo apt-get install python$(minor "$2")-venv" "sudo apt-get install python$(minor "$2")-venv"
  else
    ok python "Python $2: ${1#"$ROOT"}" "Python $2：${1#"$ROOT"}"
  fi
}

# look_tools: what compiles for torch.compile, and git.
look_tools() {
  if [[ -z $(command_of "${CXX:-c++}")$(command_of g++)$(command_of clang++) ]]; then
    note compiler-missing "no C++ compiler: torch.compile is off, training is slower" "没有 C++ 编译器：torch.compile 关闭，训练较慢" \
      "$(packages g++ gcc-c++)" "$(packages g++ gcc-c++)"
  fi
  if [[ -z $(command_of git) ]]; then
    note git-missing "no git: this clone cannot be brought up to date" "没有 git：无法更新本仓库" \
      "$(packages git git)" "$(packages git git)"
  fi
  ok bash "bash $BASH_VERSION" "bash $BASH_VERSION"
}

# packages DEBIAN OTHER: how this system installs a package.
packages() {
  case $SYSTEM-$DISTRIBUTION in
    macos-*) printf 'brew install %s\n' "$1" ;;
    *-debian | *-ubuntu | *-uos) printf 'sudo apt-get install %s\n' "$1" ;;
    *-openEuler | *-kylin | *-centos | *-fedora | *-rhel | *-rocky) printf 'sudo dnf install %s\n' "$2" ;;
    *) printf 'Debian, Ubuntu: sudo apt-get install %s; openEuler, Kylin: sudo dnf install %s\n' "$1" "$2" ;;
  esac
}
