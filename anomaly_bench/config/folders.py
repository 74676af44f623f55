"""Where the options of the config groups come from: one rule, which the data modules go by as well."""

from data_modules.base.options.folders import CONFIG_DIR_VARIABLE as CONFIG_DIR_VARIABLE
from data_modules.base.options.folders import check_unique as check_unique
from data_modules.base.options.folders import config_dir as config_dir
from data_modules.base.options.folders import config_dirs as config_dirs
from data_modules.base.options.folders import groups as groups
from data_modules.base.options.folders import options_of as options_of
from data_modules.base.options.folders import searching as searching
