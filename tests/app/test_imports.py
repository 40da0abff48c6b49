"""What the service may not load."""

import subprocess
import sys


def test_the_app_never_imports_torch_nor_the_worker():
    code = (
        "import sys; import app.main, app.cli, app.client; "
        "never = {'torch', 'worker', 'numpy', 'scipy', 'transformers'}; "
        "loaded = never & {name.split('.')[0] for name in sys.modules}; "
        "sys.exit(str(loaded) if loaded else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
