# SPDX-License-Identifier: MIT
"""A headless Chromium by the WebDriver protocol, over the standard library's HTTP client."""
import base64
import http.client
import json
import re
import shutil
import subprocess
import tempfile

from weirtest import fail, until

FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-dev-shm-usage',
         '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-default-apps']


class Browser:
    def __init__(self, *flags, dark=False, width=1360, height=1000):
        if not shutil.which('chromedriver'):
            fail('no chromedriver: script/bootstrap --test')
        self.session = None
        self.profile = tempfile.mkdtemp(prefix='weir-browser-')
        self.proc = subprocess.Popen(['chromedriver', '--port=0'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, text=True)
        try:
            for line in self.proc.stdout:
                m = re.search(r'started successfully on port (\d+)', line)
                if m:
                    break
            else:
                fail('chromedriver did not start')
            self.port = int(m.group(1))
            options = {'args': [*FLAGS, *flags, f'--user-data-dir={self.profile}', f'--window-size={width},{height}']}
            made = self._call('POST', '/session', {'capabilities': {'alwaysMatch': {
                'goog:loggingPrefs': {'browser': 'ALL'}, 'goog:chromeOptions': options}}})
            self.session = '/session/' + made['sessionId']
            self.scheme(dark)
            self.devtools('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        if self.session:
            try:
                self._call('DELETE', self.session)
            except (OSError, http.client.HTTPException, RuntimeError):
                pass
            self.session = None
        self.proc.terminate()
        self.proc.wait()
        self.proc.stdout.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _call(self, method, path, body=None):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=120)
        try:
            c.request(method, path, json.dumps(body or {}) if method == 'POST' else None, {'Content-Type': 'application/json'})
            value = json.loads(c.getresponse().read())['value']
        finally:
            c.close()
        if isinstance(value, dict) and value.get('error'):
            raise RuntimeError(f'{value["error"]}: {value["message"]}')
        return value

    def devtools(self, command, **params):
        return self._call('POST', self.session + '/goog/cdp/execute', {'cmd': command, 'params': params})

    def scheme(self, dark):
        self.devtools('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])

    def go(self, url):
        self._call('POST', self.session + '/url', {'url': url})

    def js(self, script, *args):
        """The value that `return`s from a script; a promise is waited for."""
        return self._call('POST', self.session + '/execute/sync', {'script': script, 'args': list(args)})

    def _find(self, css):
        return list(until(lambda: self._call('POST', self.session + '/elements', {'using': 'css selector', 'value': css}),
                          f'{css} does not appear')[0].values())[0]

    def click(self, css):
        self._call('POST', f'{self.session}/element/{self._find(css)}/click')

    def type(self, css, text):
        e = self._find(css)
        self._call('POST', f'{self.session}/element/{e}/clear')
        self._call('POST', f'{self.session}/element/{e}/value', {'text': text})

    def text(self, css):
        return self.js('const e = document.querySelector(arguments[0]); return e && e.innerText', css)

    def shows(self, css, text):
        """Waits until the element's text holds this."""
        until(lambda: text in (self.text(css) or ''), lambda: f'{css} shows {self.text(css)!r}, not {text!r}')

    def log(self):
        """The console since the last call: messages of level WARNING and above."""
        return [f'{m["level"]}: {m["message"]}' for m in self._call('POST', self.session + '/se/log', {'type': 'browser'})
                if m['level'] in ('WARNING', 'SEVERE')]

    def cookies(self):
        return self._call('GET', self.session + '/cookie')

    def picture(self, path):
        with open(path, 'wb') as f:
            f.write(base64.b64decode(self.devtools('Page.captureScreenshot', format='png')['data']))
