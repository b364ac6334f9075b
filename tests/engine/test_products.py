from __future__ import annotations

import threading

import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.products import collected_log, find_product, trt_logger
from tests.engine.fake_trt import fake_tensorrt


def test_an_unknown_product_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="unknown product 'tensorflow'") as caught:
        find_product("tensorflow")
    assert "tensorrt-rtx, tensorrt" in caught.value.remedy


def test_a_block_hears_each_message_once_and_nothing_after_its_end() -> None:
    trt = fake_tensorrt()
    logger, severity = trt_logger(trt), trt.ILogger.Severity
    with collected_log(trt) as log, collected_log(trt, with_info=True) as all_of_it:
        for level, text in (
            (severity.ERROR, "a "),
            (severity.WARNING, "b"),
            (severity.ERROR, "a"),
            (severity.INFO, "c"),
        ):
            logger.log(level, text)
        logger.log(severity.VERBOSE, "d")
    logger.log(severity.ERROR, "e")
    assert list(log) == [("error", "a"), ("warning", "b")]
    assert list(all_of_it) == [("error", "a"), ("warning", "b"), ("info", "c")]
    assert logger.listeners == {}


def test_blocks_of_two_threads_may_overlap_without_nesting() -> None:
    """The first to begin is the first to end; the second must go on hearing."""
    trt = fake_tensorrt()
    logger, error = trt_logger(trt), trt.ILogger.Severity.ERROR
    first_ended, second_began = threading.Event(), threading.Event()
    heard = {}

    def first() -> None:
        with collected_log(trt) as log:
            assert second_began.wait(10)
            logger.log(error, "both")
        heard["first"] = list(log)
        first_ended.set()

    def second() -> None:
        with collected_log(trt) as log:
            second_began.set()
            assert first_ended.wait(10)
            logger.log(error, "second alone")
        heard["second"] = list(log)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {"first": [("error", "both")], "second": [("error", "both"), ("error", "second alone")]}
