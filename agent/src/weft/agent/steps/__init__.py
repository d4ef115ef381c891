"""Steps of running handlers: what an attempt has done, remembered, and answered to later attempts."""
