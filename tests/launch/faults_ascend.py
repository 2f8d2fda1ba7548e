"""What can be wrong with an Ascend host, and what the doctor then finds."""

from __future__ import annotations

from launch import hosts
from launch.changes import (
    Fault,
    both,
    fails,
    forbidden,
    holds_file,
    old_driver,
    removes,
    renamed,
    sets,
    table,
    undriven,
)
from launch.hosts import OPERATORS, TOOLKIT

EIGHT = tuple((n, 900 + n, "python3", 30000) for n in range(8))
HELD = ((0, 632268, "python3.1", 30197), (2, 632269, "python3.1", 30198))
DCMI = "DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)\ndcmi module initialize failed. ret is -8005"
NO_LIBRARY = (
    "npu-smi: error while loading shared libraries: libc_sec.so: cannot open shared object file: No such file"
)

FAULTS: dict[str, Fault] = {
    # the driver
    "no driver": Fault(
        "a2",
        undriven,
        "devices-missing npu-smi-missing driver-missing",
        "devices npu-smi chip cards driver firmware image",
        "Atlas A2",
    ),
    "its version gone": Fault(
        "a3", removes("usr/local/Ascend/driver/version.info"), "driver-missing", "driver firmware"
    ),
    "driver too old for CANN 9.1": Fault(
        "a2", old_driver("25.0.rc1.1"), "cann-too-new image-too-new", "cann image", "25.2"
    ),
    "driver too old for any image": Fault(
        "310p", old_driver("23.0.0"), "cann-too-new image-none", "cann image"
    ),
    "an older image for an old driver": Fault(
        "a3",
        both(old_driver("24.1.0"), lambda h: hosts.cann(h, "8.3.RC1")),
        "image-too-new cann-other",
        "cann image",
        "v0.11.0-a3",
    ),
    "npu-smi of another release": Fault(
        "310p",
        lambda h: h.replace("usr/local/bin/npu-smi", "25.5.0", "25.2.1"),
        "driver-two",
        "driver",
        "25.2.1",
    ),
    "driver without its library": Fault(
        "a2", removes("usr/local/Ascend/driver/lib64"), "driver-library", "driver"
    ),
    "firmware newer than the driver": Fault(
        "a2",
        lambda h: h.replace("usr/local/Ascend/firmware/version.info", "7.8.0.5.216", "8.1.0.0.1"),
        "firmware-other",
        "firmware",
        "7.8.99",
    ),
    # npu-smi
    "no npu-smi": Fault(
        "a3", removes("usr/local/bin/npu-smi"), "npu-smi-missing", "npu-smi chip cards image"
    ),
    "npu-smi off the path": Fault(
        "910a", sets(PATH="/usr/bin:/bin"), "npu-smi-path", "npu-smi", "/usr/local/sbin"
    ),
    "held by a container": Fault(
        "a2", fails("a2", DCMI), "npu-smi-held", "npu-smi chip cards image", "-8005"
    ),
    "no driver libraries": Fault(
        "310p", fails("310p", NO_LIBRARY), "npu-smi-libraries", "npu-smi chip cards image", "LD_LIBRARY_PATH"
    ),
    "npu-smi breaks": Fault(
        "910a", fails("910a", "Segmentation fault"), "npu-smi-fails", "npu-smi chip cards", "Segmentation"
    ),
    "a chip of tomorrow": Fault("a3", renamed("a3", "Ascend999"), "chip-unknown", "chip image", "Ascend999"),
    # cards
    "no device file of the manager": Fault(
        "a2", removes("dev/devmm_svm"), "devices-incomplete", "devices", "/dev/devmm_svm"
    ),
    "a card's file is missing": Fault(
        "a2", removes("dev/davinci3"), "devices-differ", "", "7 device file(s)"
    ),
    "files of another group": Fault("a2", forbidden, "devices-forbidden", "", "HwHiAiUser"),
    "a card is ill": Fault(
        "910a",
        table("910a", health={5: "Critical", 6: "Warning"}),
        "card-unwell card-warning",
        "",
        "5: Critical",
    ),
    "two processes on A3": Fault("a3", table("a3", HELD), "cards-held", "cards", "0: PID 632268"),
    "numbers of 310P": Fault("310p", table("310p", HELD), "cards-held", "cards", "2: PID 632269"),
    "every card is taken": Fault("a2", table("a2", EIGHT), "cards-all-held", "cards", "7: PID 907"),
    "memory of nobody": Fault(
        "910a", table("910a", used={1: 26838}), "cards-memory", "cards", "1: 26838 / 32768 MB"
    ),
    "a file held open": Fault(
        "a2", holds_file, "cards-held", "cards", "5: PID 4242 python3.11 (docker 0123456789ab)"
    ),
    "hidden cards": Fault("a3", sets(ASCEND_RT_VISIBLE_DEVICES=""), "visible-none"),
    "cards that are not here": Fault("310p", sets(ASCEND_RT_VISIBLE_DEVICES="1,7"), "visible-wrong", "", "7"),
    "some cards chosen": Fault("a2", sets(ASCEND_RT_VISIBLE_DEVICES="4,5"), "visible"),
    # CANN
    "CANN not sourced": Fault(
        "a2",
        lambda h: h.env.pop("ASCEND_HOME_PATH"),
        "cann-not-sourced",
        "",
        "source /usr/local/Ascend/cann/set_env.sh",
    ),
    "CANN of another release": Fault("910a", lambda h: hosts.cann(h, "8.5.1"), "cann-other", "cann"),
    "CANN named where it is not": Fault(
        "kylin", sets(ASCEND_HOME_PATH="/opt/cann"), "cann-path", "cann", "/opt/cann"
    ),
    "no CANN, but images": Fault(
        "a3", both(removes(TOOLKIT), lambda h: h.env.clear(), sets(HOME="/root")), "cann-in-images", "cann"
    ),
    "neither CANN nor images": Fault(
        "a2",
        both(removes(TOOLKIT, "usr/bin/docker"), lambda h: h.env.clear(), sets(HOME="/root")),
        "cann-missing docker-missing",
        "cann docker image registry",
    ),
    "no operators": Fault("910a", removes(f"{OPERATORS}/ascend910"), "cann-operators", "", "ascend910"),
}
