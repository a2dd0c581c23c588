#requires -Version 5.1
#requires -Modules @{ ModuleName = 'Pester'; ModuleVersion = '5.0.0' }
<#
    The wire protocol on a real PowerShell: one ASCII line out, whatever goes in. Run with: Invoke-Pester test/pester
#>
BeforeAll {
    $script:Modules = [System.IO.Path]::Combine($PSScriptRoot, '..', '..', 'lib', 'agent', 'powershell', 'scripts', 'modules')
    Import-Module -Name ([System.IO.Path]::Combine($script:Modules, 'Gcb.Protocol.psm1')) -Force

    # What a verb writes, as the agent reads it.
    function Get-Answer {
        param([object] $Request, [scriptblock] $Body)
        $json = ConvertTo-Json -InputObject $Request -Depth 12 -Compress
        $payload = [System.Convert]::ToBase64String([System.Text.Encoding]::UTF8.GetBytes($json))
        $writer = New-Object -TypeName System.IO.StringWriter
        $before = [Console]::Out
        [Console]::SetOut($writer)
        try { Invoke-GcbVerb -Payload $payload -Call 'ab12' -Body $Body }
        finally { [Console]::SetOut($before) }
        $writer.ToString()
    }
}

Describe 'Invoke-GcbVerb' {
    It 'gives the value on one ASCII line that begins with the call' {
        $text = "a'b`"c`r`nd" + [char]0x65E5 + [char]0x2028
        $line = Get-Answer -Request ([pscustomobject]@{ text = $text }) -Body {
            param([pscustomobject] $Request)
            [ordered]@{ echo = $Request.text }
        }
        $line.TrimEnd() | Should -Match '^\{"call":"ab12",[\x20-\x7e]+\}$'
        (ConvertFrom-Json -InputObject $line).value.echo | Should -BeExactly $text
    }

    It 'keeps lists lists: empty, of one, of many' {
        $line = Get-Answer -Request ([pscustomobject]@{ a = 1 }) -Body {
            param([pscustomobject] $Request)
            $list = New-Object -TypeName System.Collections.ArrayList
            [void]$list.Add([ordered]@{ n = $Request.a })
            [ordered]@{ none = @(); one = $list.ToArray(); many = @(1, 2) }
        }
        $line | Should -Match '"none":\[\]'
        $line | Should -Match '"one":\[\{"n":1\}\]'
        $line | Should -Match '"many":\[1,2\]'
    }

    It 'gives an error of ours with every field' {
        $line = Get-Answer -Request ([pscustomobject]@{ a = 1 }) -Body {
            param([pscustomobject] $Request)
            Stop-GcbVerb -Code 'HV_CALL_FAILED' -Message 'it failed' -Remedy 'look there' -Subject 'vm' -WmiReturnValue 3225026601
        }
        $answer = ConvertFrom-Json -InputObject $line
        $answer.ok | Should -BeFalse
        $answer.error.code | Should -BeExactly 'HV_CALL_FAILED'
        $answer.error.wmiReturnValue | Should -Be 3225026601
        $answer.error.remedy | Should -BeExactly 'look there'
    }

    It 'gives any other error with its category' {
        $line = Get-Answer -Request ([pscustomobject]@{ a = 1 }) -Body {
            param([pscustomobject] $Request)
            Get-Item -LiteralPath ([System.IO.Path]::Combine($PSScriptRoot, 'nowhere', [string]$Request.a)) -ErrorAction Stop
        }
        (ConvertFrom-Json -InputObject $line).error.code | Should -BeExactly 'HV_NOT_FOUND'
    }

    It 'finds a field that is missing under strict mode' {
        $line = Get-Answer -Request ([pscustomobject]@{ a = 1 }) -Body {
            param([pscustomobject] $Request)
            Set-StrictMode -Version Latest
            [ordered]@{ b = $Request.b }
        }
        (ConvertFrom-Json -InputObject $line).ok | Should -BeFalse
    }
}

Describe 'ConvertTo-GcbUnixMs' {
    It 'counts from 1970 in UTC' {
        ConvertTo-GcbUnixMs -Time ([datetime]::new(2023, 11, 14, 22, 13, 20, [System.DateTimeKind]::Utc)) | Should -Be 1700000000000
    }
}
