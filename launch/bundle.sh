#!/usr/bin/env bash
# Take everything to a host without a network: source, packages, images, weights, data; checked there, then installed.
# 把源码、依赖包、镜像、权重和数据带到无网络的主机：先校验，再安装。
#
#   bash run_all.sh bundle create --weight full_sft --split 4G       into dist/bundle, in files of at most 4 GB
#                                                                    写入 dist/bundle，每个文件至多 4 GB
#   bash run_all.sh bundle verify dist/bundle                        every byte is what it was
#                                                                    逐字节校验
#   bash /media/usb/bundle/install.sh danlu                          on the other host: into the folder danlu
#                                                                    在另一台主机上：安装到目录 danlu
#   bash run_all.sh bundle install /media/usb/bundle                 the same into a clone that is there
#                                                                    安装到已有的仓库
#
# Stopped in the middle, the same command goes on. Packages are for this host's Python, processor and devices.
# 中断后重跑同一命令即可继续。依赖包适用于与本机相同的 Python、处理器和设备。
#
#   --out DIR          create: where to, instead of dist/bundle
#                      create：写入的目录，默认 dist/bundle
#   --split SIZE       create: files of at most this size, such as 700M or 4G
#                      create：每个文件的上限，如 700M、4G
#   --image NAME...    create: these images; all of this device's that are here, unless said; "none": none
#                      create：指定镜像；默认为本机已有的该设备镜像；none 表示不带
#   --weight NAME...   create: weights, a name in out/ or a folder in the clone
#                      create：权重，out/ 中的名称或仓库中的目录
#   --data PATH...     create: a file or a folder in the clone
#                      create：仓库中的文件或目录
#   --extra NAME...    create: more of pyproject.toml than convert and serve
#                      create：除 convert、serve 外 pyproject.toml 的更多部分
#   --wheels DIR       create: the packages in this folder, downloading none
#                      create：使用该目录中的依赖包，不下载
#   --device KIND      create: ascend, cuda or cpu, whatever is found here
#                      create：指定 ascend、cuda 或 cpu，不自动检测
#   --mirror           create: download from mirrors inside China
#                      create：使用国内镜像
#   --digest WORD      verify, install: what create said; then nobody has changed the list of checksums either
#                      verify、install：create 给出的摘要，确保校验清单本身未被改动
#   --no-setup         install: put everything in its place, and leave setup to later
#                      install：只放好文件，不执行 setup
#   ...                create, verify FOLDER or install FOLDER
#                      create、verify 目录 或 install 目录
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/venv.sh
source launch/images.sh
source launch/makes.sh
source launch/bundle/create.sh
source launch/bundle/install.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  case ${WORDS[0]:-}-${#WORDS[@]} in
    create-1) create ;;
    verify-2) verify "${WORDS[1]}" ;;
    install-2) install_from "${WORDS[1]}" ;;
    *) die "bundle ${WORDS[*]}?" "bundle create, bundle verify DIR, bundle install DIR" ;;
  esac
}

# sha256 WORDS...: the checksums' tool of this host.
sha256() {
  if [[ -n $(type -P sha256sum) ]]; then sha256sum "$@"; else shasum --algorithm 256 "$@"; fi
}

# digest FOLDER: a bundle's one checksum: that of its list.
digest() { sha256 "$1/SHA256SUMS" | cut -c 1-64; }

main "$@"
